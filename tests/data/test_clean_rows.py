"""Rows that leave a part: repeated and incomplete ones only in training, those without a target everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from modeltap.data.clean import kept_rows
from modeltap.domain.recipe import Clean
from modeltap.domain.signature import Array
from modeltap.errors import InvalidData


def texts(*values: str) -> Array:
    return np.array(values, dtype=object)


FEATURES: dict[str, Array] = {
    "n": np.array([1.0, np.nan, 1.0, np.nan, 2.0, 1.0]),
    "c": texts("a", "b", "a", "b", "", "a"),
}
TARGET = texts("yes", "no", "yes", "no", "no", "no")
DROP_ALL = Clean(duplicates="drop", missing="drop")


def test_everything_is_kept_unless_asked() -> None:
    kept = kept_rows(FEATURES, TARGET, Clean(), part="train")
    assert kept.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert kept.notices == ()


def test_repeated_training_rows_are_dropped_and_the_first_stays() -> None:
    kept = kept_rows(FEATURES, TARGET, Clean(duplicates="drop"), part="train")
    assert kept.index.tolist() == [0, 1, 4, 5]
    assert kept.notices == ("dropped 2 training rows that repeated an earlier one",)


def test_incomplete_training_rows_are_dropped() -> None:
    kept = kept_rows(FEATURES, TARGET, Clean(missing="drop"), part="train")
    assert kept.index.tolist() == [0, 2, 5]
    assert kept.notices == ("dropped 3 training rows with a missing value",)
    assert kept_rows(FEATURES, TARGET, DROP_ALL, part="train").index.tolist() == [0, 5]


@pytest.mark.parametrize("part", ["val", "test"])
def test_other_parts_keep_their_rows(part: str) -> None:
    assert kept_rows(FEATURES, TARGET, DROP_ALL, part=part).index.tolist() == [0, 1, 2, 3, 4, 5]  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_rows_without_a_target_leave_every_part(part: str) -> None:
    for target in (texts("a", "", "b", "a", "", "b"), np.array([0.0, np.nan, 1.0, 0.0, np.nan, 1.0])):
        kept = kept_rows(FEATURES, target, Clean(), part=part)  # type: ignore[arg-type]
        assert kept.index.tolist() == [0, 2, 3, 5]
        assert kept.notices == (f"left out 2 rows of {part} without a target",)


def test_repeated_pictures_are_found() -> None:
    images = np.zeros((4, 2, 2), np.uint8)
    images[1, 0, 0] = 9
    kept = kept_rows({"image": images}, np.array([0.0, 0.0, 0.0, 1.0]), DROP_ALL, part="train")
    assert kept.index.tolist() == [0, 1, 3]


def test_rows_that_share_a_target_alone_are_no_repetition() -> None:
    assert kept_rows({}, TARGET, DROP_ALL, part="train").index.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_part_that_would_be_empty_is_refused() -> None:
    with pytest.raises(InvalidData, match="no row of train is left: dropped 2 training rows with a missing value"):
        kept_rows({"n": np.array([np.nan, np.nan])}, texts("a", "b"), DROP_ALL, part="train")
    with pytest.raises(InvalidData, match="no row of test is left"):
        kept_rows({"n": np.array([1.0])}, texts(""), Clean(), part="test")
    assert len(kept_rows({"n": np.array([])}, None, Clean(), part="val").index) == 0

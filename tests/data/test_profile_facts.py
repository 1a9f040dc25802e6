"""The profile: figures that a person would work out by hand, and that all of it is JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from modeltap.data.infer import infer_schema
from modeltap.data.profile import profile
from modeltap.data.source import PartRows, Source
from modeltap.errors import InvalidValue


def profiled(columns: Mapping[str, Sequence[Any]], **options: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    source = Source("table", tuple(columns), {"rows": PartRows(pl.DataFrame(dict(columns)))})
    facts = profile(source, infer_schema(source, **options)[0])
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    return facts, {column["name"]: column for column in facts["columns"]}


def test_numbers_with_missing_values() -> None:
    _, columns = profiled({"n": ["1", "?", "3", " 5 ", "3"], "c": ["a", "b", "a", "a", "b"]})
    numbers = columns["n"]
    assert (numbers["missing"], numbers["distinct"], numbers["min"], numbers["max"]) == (1, 3, 1.0, 5.0)
    assert numbers["mean"] == 3.0
    assert numbers["std"] == pytest.approx(np.sqrt(2.0))
    assert numbers["quantiles"]["0.5"] == 3.0
    assert numbers["histogram"]["counts"] == [1, *[0] * 9, 2, *[0] * 8, 1]
    assert numbers["histogram"]["edges"][0] == 1.0
    assert len(numbers["histogram"]["edges"]) == 21


def test_categories_texts_truths_and_dates() -> None:
    facts, columns = profiled(
        {
            "c": ["a", "b", " a", "", "a"],
            "t": ["one two three four five six", "a b c d e", "some more words than four", "x y z v w q", "k l m n o"],
            "b": ["yes", "no", "", "no", "no"],
            "d": ["2024-01-02", "2024-03-01", "", "2024-01-01", "2024-01-01"],
        }
    )
    assert columns["c"]["top"] == [{"value": "a", "count": 3}, {"value": "b", "count": 1}]
    assert (columns["c"]["missing"], columns["c"]["distinct"]) == (1, 2)
    assert columns["t"]["words"] == {"min": 5, "mean": 5.4, "max": 6}
    assert columns["b"]["mean"] == 0.25
    assert columns["d"]["min"] == "2024-01-01T00:00:00+00:00"
    assert columns["d"]["max"] == "2024-03-01T00:00:00+00:00"
    assert facts["rows"] == 5
    assert facts["size_bytes"] > 0


def test_repeated_rows_are_those_with_equal_values() -> None:
    facts, _ = profiled({"id": ["1", "2", "3", "4"], "x": ["1", "1.0", "2", "1"], "c": ["a", " a", "a", ""]})
    assert facts["duplicate_rows"] == 1


def test_the_balance_of_a_target() -> None:
    facts, _ = profiled({"x": list("12345"), "y": ["b", "a", "", "a", "a"]}, target="y")
    assert facts["target"]["missing"] == 1
    assert facts["target"]["classes"] == [
        {"label": "a", "count": 3, "fraction": 0.75},
        {"label": "b", "count": 1, "fraction": 0.25},
    ]
    facts, _ = profiled({"x": list("12345"), "y": ["0", "1", "1.0", "1", "0"]}, target="y")
    assert [c["label"] for c in facts["target"]["classes"]] == ["1", "0"]
    facts, _ = profiled({"x": [str(n % 7) for n in range(40)], "y": [f"{n}.5" for n in range(40)]}, target="y")
    assert facts["target"]["mean"] == 20.0


def test_extreme_and_constant_numbers_stay_json() -> None:
    _, columns = profiled(
        {"wide": [-1.7e308, 1.7e308, 0.0], "tight": [1.0, 1.0 + 2**-52, 1.0], "same": [4.0] * 3, "void": [None] * 3}
    )
    assert columns["wide"]["histogram"]["counts"] == [3]
    assert sum(columns["tight"]["histogram"]["counts"]) == 3
    assert columns["same"]["histogram"] == {"edges": [4.0, 4.0], "counts": [3]}
    assert columns["void"]["missing"] == 3


def test_pictures_and_parts() -> None:
    labels = pl.DataFrame({"label": ["cat", "dog", "cat"]})
    grey = np.zeros((3, 2, 2, 3), np.uint8)
    grey[2, :, :, 0] = 90
    parts = {"train": PartRows(labels, {"image": grey}), "test": PartRows(labels.head(1), {"image": grey[:1]})}
    source = Source("images", ("image", "label"), parts)  # type: ignore[arg-type]
    facts = profile(source, infer_schema(source)[0])
    assert json.dumps(facts, allow_nan=False)
    assert facts["parts"] == {"train": 3, "test": 1}
    image = facts["columns"][0]
    assert image["shape"] == [2, 2, 3]
    assert image["channel_mean"] == [22.5, 0.0, 0.0]
    assert {c["label"]: c["count"] for c in facts["target"]["classes"]} == {"cat": 3, "dog": 1}
    assert facts["duplicate_rows"] == 1


def test_a_value_that_does_not_fit_an_override_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"'n' .*row 3"):
        profiled({"n": ["1", "2", "many"], "c": ["a", "b", "a"]}, overrides={"n": "number"})

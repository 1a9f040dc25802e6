"""Splits: no row lost or doubled, classes and groups and times respected, given parts kept, and what cannot be split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltap.data.infer import infer_schema
from modeltap.data.source import PartRows, Source
from modeltap.data.split import Parts, plan_split
from modeltap.data.split_rows import (
    Divided,
    divide_by_group,
    divide_by_time,
    divide_random,
    divide_stratified,
    part_sizes,
)
from modeltap.data.store import StoredDataset, open_dataset, write_dataset
from modeltap.domain.dataset import Part
from modeltap.domain.recipe import Split
from modeltap.errors import InvalidData, InvalidRecipe

STEADY = settings(derandomize=True, deadline=None, max_examples=80)
FRACTIONS = st.sampled_from(
    [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.9, 0.0, 0.1), (1.0, 0.0, 0.0), (0.5, 0.2, 0.1), (0.34, 0.33, 0.33)]
)


def stored(
    tmp_path: Path, columns: Mapping[str, Sequence[Any]], *, target: str | None = None, **given: Sequence[int]
) -> StoredDataset:
    table = pl.DataFrame(dict(columns))
    parts: dict[Part, PartRows] = {"rows": PartRows(table)}
    if given:
        parts = {name: PartRows(table[list(rows)]) for name, rows in given.items()}  # type: ignore[misc]
    source = Source("table", tuple(columns), parts)
    overrides = {name: "feature" for name in columns if name != target}
    schema, _ = infer_schema(source, target=target, overrides=overrides)
    return open_dataset(write_dataset(source, schema, tmp_path))


def check_disjoint(divided: Divided, num_rows: int) -> None:
    together = np.concatenate(divided)
    assert len(np.unique(together)) == len(together)
    assert together.min() >= 0
    assert together.max() < num_rows
    assert all((np.diff(rows) > 0).all() for rows in divided)


def labels_of(values: Sequence[Any], parts: Parts) -> list[Counter[Any]]:
    return [Counter(values[row] for row in rows.index) for rows in (parts.train, parts.val, parts.test)]


@STEADY
@given(num_rows=st.integers(3, 400), fractions=FRACTIONS, seed=st.integers(0, 5))
def test_no_row_is_lost_or_doubled(num_rows: int, fractions: tuple[float, float, float], seed: int) -> None:
    train, val, test = fractions
    sizes = part_sizes(num_rows, train=train, val=val, test=test)
    divided = divide_random(num_rows, sizes, seed=seed)
    check_disjoint(divided, num_rows)
    assert [len(rows) for rows in divided] == list(sizes[:3])
    assert all((len(rows) > 0) == (fraction > 0) for rows, fraction in zip(divided, fractions, strict=True))
    if math.isclose(sum(fractions), 1):
        assert sum(map(len, divided)) == num_rows
    for rows, fraction in zip(divided, fractions, strict=True):
        assert abs(len(rows) - num_rows * fraction) <= 2


@STEADY
@given(strata=st.lists(st.integers(0, 6), min_size=25, max_size=300), fractions=FRACTIONS, seed=st.integers(0, 3))
def test_strata_keep_their_shares(strata: list[int], fractions: tuple[float, float, float], seed: int) -> None:
    stratum_N = np.unique(strata, return_inverse=True)[1].astype(np.int64)
    train, val, test = fractions
    sizes = part_sizes(len(strata), train=train, val=val, test=test)
    if stratum_N.max() >= sizes.train:
        return
    divided = divide_stratified(stratum_N, sizes, seed=seed)
    check_disjoint(divided, len(strata))
    assert [len(rows) for rows in divided] == list(sizes[:3])
    assert set(stratum_N[divided.train]) == set(stratum_N)
    for stratum, count in Counter(stratum_N.tolist()).items():
        if count >= 30:
            for rows, size in zip(divided, sizes, strict=False):
                assert abs((stratum_N[rows] == stratum).sum() - size * count / len(strata)) <= 8


@STEADY
@given(groups=st.lists(st.integers(0, 12), min_size=5, max_size=200), fractions=FRACTIONS, seed=st.integers(0, 3))
def test_a_group_never_crosses(groups: list[int], fractions: tuple[float, float, float], seed: int) -> None:
    group_N = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    train, val, test = fractions
    sizes = part_sizes(len(groups), train=train, val=val, test=test)
    if len(set(groups)) < sum(size > 0 for size in sizes[:3]):
        with pytest.raises(InvalidData, match="groups cannot be divided"):
            divide_by_group(group_N, sizes, seed=seed)
        return
    divided = divide_by_group(group_N, sizes, seed=seed)
    check_disjoint(divided, len(groups))
    seen = [set(group_N[rows]) for rows in divided]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert all(len(rows) > 0 for rows, size in zip(divided, sizes, strict=False) if size)
    if not sizes.unused:
        assert sum(map(len, divided)) == len(groups)


@STEADY
@given(times=st.lists(st.floats(-1e9, 1e9) | st.just(math.nan), min_size=5, max_size=100), fractions=FRACTIONS)
def test_the_past_is_train_and_the_latest_is_test(times: list[float], fractions: tuple[float, float, float]) -> None:
    time_N = np.array(times)
    train, val, test = fractions
    divided = divide_by_time(time_N, part_sizes(len(times), train=train, val=val, test=test))
    check_disjoint(divided, len(times))
    bounds = [np.where(np.isnan(time_N[rows]), -np.inf, time_N[rows]) for rows in divided if len(rows)]
    assert all(before.max() <= after.min() for before, after in pairwise(bounds))


@pytest.mark.parametrize("target_is_class", [True, False])
def test_a_seed_decides_everything(tmp_path: Path, target_is_class: bool) -> None:
    dataset = stored(tmp_path, {"x": list(range(50)), "y": ["a", "b"] * 25}, target="y")
    one = plan_split(dataset, Split(seed=3), target_is_class=target_is_class)
    same = plan_split(dataset, Split(seed=3), target_is_class=target_is_class)
    other = plan_split(dataset, Split(seed=4), target_is_class=target_is_class)
    assert one.test.index.tolist() == same.test.index.tolist()
    assert one.test.index.tolist() != other.test.index.tolist()
    assert (len(one.train), len(one.val), len(one.test)) == (40, 5, 5)


def test_classes_are_stratified_and_single_ones_stay_in_train(tmp_path: Path) -> None:
    labels = ["a"] * 60 + ["b"] * 39 + ["rare"]
    dataset = stored(tmp_path, {"x": list(range(100)), "y": labels}, target="y")
    parts = plan_split(dataset, Split(), target_is_class=True)
    train, val, test = labels_of(labels, parts)
    assert train == {"a": 48, "b": 31, "rare": 1}
    assert (val, test) == ({"a": 6, "b": 4}, {"a": 6, "b": 4})


def test_another_column_to_stratify_by(tmp_path: Path) -> None:
    towns = ["x"] * 50 + ["y"] * 50
    dataset = stored(tmp_path, {"town": towns, "n": [n / 7 for n in range(100)]}, target="n")
    parts = plan_split(dataset, Split(stratify="town"), target_is_class=False)
    assert labels_of(towns, parts) == [{"x": 40, "y": 40}, {"x": 5, "y": 5}, {"x": 5, "y": 5}]
    parts = plan_split(dataset, Split(stratify="n"), target_is_class=False)
    assert len(parts.train) == 80
    assert any("too many to stratify" in notice for notice in parts.notices)


def test_groups_and_times_by_their_columns(tmp_path: Path) -> None:
    who = [f"p{n // 10}" for n in range(100)]
    when = [f"2024-01-{1 + (n * 7) % 28:02d}" for n in range(100)]
    who[99] = ""
    dataset = stored(tmp_path, {"who": who, "when": when, "y": ["a", "b"] * 50}, target="y")
    parts = plan_split(dataset, Split(group="who", stratify="y"), target_is_class=True)
    train, val, test = labels_of(who, parts)
    assert sum(map(len, (parts.train, parts.val, parts.test))) == 100
    assert not (set(train) & set(val) or set(train) & set(test) or set(val) & set(test))
    assert (len(parts.val), len(parts.test)) == (10, 10)
    assert any("each of 1 row without 'who'" in notice for notice in parts.notices)
    assert any("not stratified" in notice for notice in parts.notices)
    parts = plan_split(dataset, Split(time="when"), target_is_class=True)
    train, val, test = labels_of(when, parts)
    assert max(train) <= min(val)
    assert max(val) <= min(test)


def test_given_parts_are_taken_as_they_are(tmp_path: Path) -> None:
    columns = {"x": list(range(120)), "y": ["a", "b"] * 60, "g": [str(n % 9) for n in range(120)]}
    dataset = stored(tmp_path, columns, target="y", train=range(90), test=range(90, 120))
    parts = plan_split(dataset, Split(), target_is_class=True)
    assert (parts.train.stored, parts.val.stored, parts.test.stored) == ("train", "train", "test")
    assert parts.test.index.tolist() == list(range(30))
    assert sorted([*parts.train.index, *parts.val.index]) == list(range(90))
    assert len(parts.val) == 10
    assert any("val was cut from the given train" in notice for notice in parts.notices)
    parts = plan_split(dataset, Split(train=1, val=0, test=0, group="g"), target_is_class=True)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (90, 0, 30)
    assert any("9 groups of 'g' in both train and test" in notice for notice in parts.notices)


def test_a_given_val_leaves_test_to_be_cut(tmp_path: Path) -> None:
    dataset = stored(tmp_path, {"x": list(range(100))}, train=range(90), val=range(90, 100))
    parts = plan_split(dataset, Split(), target_is_class=False)
    assert (parts.val.stored, len(parts.val)) == ("val", 10)
    assert (parts.test.stored, len(parts.test), len(parts.train)) == ("train", 10, 80)
    three = stored(tmp_path, {"x": list(range(100))}, train=range(80), val=range(80, 90), test=range(90, 100))
    parts = plan_split(three, Split(), target_is_class=False)
    assert [len(rows) for rows in (parts.train, parts.val, parts.test)] == [80, 10, 10]


def test_fractions_below_one_leave_rows_out(tmp_path: Path) -> None:
    dataset = stored(tmp_path, {"x": list(range(100))})
    parts = plan_split(dataset, Split(train=0.2, val=0.1, test=0.1), target_is_class=False)
    assert [len(rows) for rows in (parts.train, parts.val, parts.test)] == [20, 10, 10]
    assert any("60 rows in no part" in notice for notice in parts.notices)


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="2 rows cannot be divided into 3 parts"):
        plan_split(stored(tmp_path, {"x": [1, 2]}), Split(), target_is_class=False)
    many = stored(tmp_path, {"x": [1] * 10, "y": list("abcdefghij")}, target="y")
    with pytest.raises(InvalidData, match="8 rows to train on are fewer than the 10 classes"):
        plan_split(many, Split(), target_is_class=True)
    three = plan_split(stored(tmp_path, {"x": [1, 2, 3]}), Split(), target_is_class=False)
    assert [len(rows) for rows in (three.train, three.val, three.test)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("split", "told"),
    [
        (Split(train=0.8, val=0.2, test=0.2), "1.2 together"),
        (Split(train=0.0, val=0.5, test=0.5), "train is 0"),
        (Split(train=0.5, val=-0.1, test=0.5), "from 0 to 1"),
        (Split(train=math.nan), "from 0 to 1"),
        (Split(group="who", time="when"), "both group and time"),
        (Split(group="whoo"), "did you mean 'who'"),
        (Split(time="who"), "must be a time or a number"),
        (Split(stratify="nothing"), "names no column"),
    ],
)
def test_splits_that_cannot_be(tmp_path: Path, split: Split, told: str) -> None:
    dataset = stored(tmp_path, {"who": ["a", "b"] * 5, "when": list(range(10))})
    with pytest.raises(InvalidRecipe, match=told):
        plan_split(dataset, split, target_is_class=False)


def test_parts_without_train(tmp_path: Path) -> None:
    dataset = stored(tmp_path, {"x": [1, 2, 3]}, val=[0], test=[1])
    with pytest.raises(InvalidData, match="one of them must be train"):
        plan_split(dataset, Split(), target_is_class=False)

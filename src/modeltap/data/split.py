"""Which rows of a dataset are train, val and test: cut by fractions, or taken as the parts that were given.

Letters: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeltap.data.clean import is_missing
from modeltap.data.rows import parse_column
from modeltap.data.split_rows import (
    Divided,
    Index,
    Sizes,
    divide_by_group,
    divide_by_time,
    divide_random,
    divide_stratified,
    part_sizes,
)
from modeltap.data.store import StoredDataset
from modeltap.data.wording import counted
from modeltap.domain.dataset import Column, Part, Schema
from modeltap.domain.recipe import Split
from modeltap.domain.signature import Array
from modeltap.errors import InvalidData, InvalidRecipe, nearest

MAX_NAMED = 5


@dataclass(frozen=True)
class PartIndex:
    """Rows of one part: ascending row numbers (N,) into the stored part that they lie in. Empty only where so wanted."""

    stored: Part
    index: Index

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Parts:
    train: PartIndex
    val: PartIndex
    test: PartIndex
    notices: tuple[str, ...] = ()


def plan_split(dataset: StoredDataset, split: Split, *, target_is_class: bool, schema: Schema | None = None) -> Parts:
    """The rows of each part; no row is in two parts, and none is lost if the fractions are 1 together.

    schema: instead of the dataset's own, where a recipe changed it. Parts that were given stay as they are; `val` and
    `test` are cut from `train` where none was given. Raises InvalidRecipe for fractions or columns that do not fit,
    InvalidData for too few rows, classes or groups.
    """
    schema = schema or dataset.schema
    _check_split(split, schema)
    given = dataset.parts
    if "rows" not in given and "train" not in given:
        raise InvalidData(f"the dataset has the parts {', '.join(given)}; one of them must be train")
    whole: Part = "rows" if "rows" in given else "train"
    val = 0.0 if "val" in given else split.val
    test = 0.0 if "test" in given else split.test
    scale = 1.0 if len(given) == 1 else split.train + val + test
    sizes = part_sizes(dataset.num_rows(whole), train=split.train / scale, val=val / scale, test=test / scale)
    divided, notices = _divide(dataset, whole, sizes, split, schema, target_is_class=target_is_class)
    if sizes.unused:
        notices.append(f"left {counted(sizes.unused, 'row')} in no part, as the fractions are less than 1 together")
    parts: dict[Part, PartIndex] = {"train": PartIndex(whole, divided.train)}
    cut: tuple[tuple[Part, Index], ...] = (("val", divided.val), ("test", divided.test))
    for part, rows in cut:
        if part in given:
            parts[part] = PartIndex(part, np.arange(dataset.num_rows(part), dtype=np.int64))
        else:
            parts[part] = PartIndex(whole, rows)
            if len(given) > 1 and len(rows):
                notices.append(f"{part} was cut from the given train part: {counted(len(rows), 'row')}")
    if split.group is not None and len(given) > 1:
        notices += _shared_groups(parts, dataset, schema, split.group)
    return Parts(parts["train"], parts["val"], parts["test"], tuple(notices))


def _divide(
    dataset: StoredDataset, stored: Part, sizes: Sizes, split: Split, schema: Schema, *, target_is_class: bool
) -> tuple[Divided, list[str]]:
    num_rows = sum(sizes)
    if split.group is not None:
        return _by_group(_values(dataset, stored, schema, split.group), sizes, split)
    if split.time is not None:
        time_N = _values(dataset, stored, schema, split.time).astype(np.float64)
        num_missing = int(np.isnan(time_N).sum())
        told = [f"took {counted(num_missing, 'row')} without '{split.time}' as the earliest"] if num_missing else []
        told += _not_stratified(split, "time")
        return divide_by_time(time_N, sizes), told
    by = split.stratify if isinstance(split.stratify, str) else None
    target = schema.target
    if split.stratify is True and target_is_class and target is not None:
        by = target.name
    if by is None:
        return divide_random(num_rows, sizes, seed=split.seed), []
    values = _values(dataset, stored, schema, by)
    stratum_N = _codes(values)
    num_strata = int(stratum_N.max()) + 1
    if num_strata <= sizes.train:
        return divide_stratified(stratum_N, sizes, seed=split.seed), []
    if target is not None and by == target.name and target_is_class:
        raise InvalidData(
            f"{sizes.train} rows to train on are fewer than the {num_strata} classes of '{by}'; every class needs a row."
            " Give more rows, or check that the target is a class"
        )
    told = [f"'{by}' has {num_strata:,} different values, too many to stratify by; the rows were divided at random"]
    return divide_random(num_rows, sizes, seed=split.seed), told


def _by_group(values: Array, sizes: Sizes, split: Split) -> tuple[Divided, list[str]]:
    told = []
    missing_N = is_missing(values)
    group_N = _codes(values)
    if missing_N.any():
        # Rows of no group are not known to belong together: each stands for itself.
        group_N = group_N.copy()
        group_N[missing_N] = group_N.max() + 1 + np.arange(int(missing_N.sum()))
        group_N = np.unique(group_N, return_inverse=True)[1].astype(np.int64)
        told.append(f"took each of {counted(int(missing_N.sum()), 'row')} without '{split.group}' as a group of its own")
    return divide_by_group(group_N, sizes, seed=split.seed), told + _not_stratified(split, "group")


def _not_stratified(split: Split, by: str) -> list[str]:
    if not isinstance(split.stratify, str):
        return []
    return [f"the rows are divided by {by}, so they are not stratified by '{split.stratify}'"]


def _check_split(split: Split, schema: Schema) -> None:
    for name, fraction in (("train", split.train), ("val", split.val), ("test", split.test)):
        if not (math.isfinite(fraction) and 0 <= fraction <= 1):
            raise InvalidRecipe(f"data.split.{name} is {fraction}; a fraction is from 0 to 1")
    if split.train == 0:
        raise InvalidRecipe("data.split.train is 0; a model needs rows to train on")
    if split.train + split.val + split.test > 1 + 1e-9:
        total = split.train + split.val + split.test
        raise InvalidRecipe(f"data.split gives train, val and test {total:g} together; the most is 1")
    if split.group is not None and split.time is not None:
        raise InvalidRecipe("data.split has both group and time; rows are divided by one of them")
    named: dict[str, str | bool | None] = {"group": split.group, "time": split.time, "stratify": split.stratify}
    for key, said in named.items():
        if isinstance(said, str):
            column = _column(schema, said, key)
            if key == "time" and column.kind not in ("number", "datetime"):
                raise InvalidRecipe(f"data.split.time is '{said}', which is a {column.kind}; it must be a time or a number")
            if column.kind in ("image", "array"):
                raise InvalidRecipe(f"data.split.{key} is '{said}', which holds a whole {column.kind}")


def _column(schema: Schema, name: str, key: str) -> Column:
    column = schema.column(name)
    if column is None:
        raise InvalidRecipe(f"data.split.{key} names no column: '{name}'{nearest(name, [c.name for c in schema.columns])}")
    return column


def _values(dataset: StoredDataset, stored: Part, schema: Schema, name: str) -> Array:
    column = schema.column(name)
    assert column is not None
    return parse_column(column, dataset.column(stored, name), missing=schema.missing)


def _codes(values: Array) -> Index:
    """int (N,) in [0, C): equal values have equal codes, in the order of the values; missing is a value."""
    if values.dtype != object:
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    code_of = {value: code for code, value in enumerate(sorted(set(values.tolist())))}
    return np.fromiter((code_of[value] for value in values), dtype=np.int64, count=len(values))


def _shared_groups(parts: Mapping[Part, PartIndex], dataset: StoredDataset, schema: Schema, group: str) -> list[str]:
    """Notices where a group lies in two parts that were given as files: the figures will look too good."""
    seen: dict[Part, set[Any]] = {}
    for part, rows in parts.items():
        values = _values(dataset, rows.stored, schema, group)[rows.index]
        seen[part] = set(values[~is_missing(values)].tolist())
    told = []
    others: tuple[Part, ...] = ("val", "test")
    for part in others:
        if both := seen["train"] & seen[part]:
            told.append(f"found {counted(len(both), 'group')} of '{group}' in both train and {part}, as the data was given")
    return told

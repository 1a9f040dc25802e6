"""Dividing N rows into train, val and test: at random, stratified, by group or by time. Pure; a seed decides everything.

Letters: N rows, C strata or groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeltap.errors import InvalidData

Index = NDArray[np.int64]


class Sizes(NamedTuple):
    """Rows of each part; `unused` where the fractions are less than 1 together."""

    train: int
    val: int
    test: int
    unused: int = 0


class Divided(NamedTuple):
    """Ascending, disjoint row numbers."""

    train: Index
    val: Index
    test: Index


def part_sizes(num_rows: int, *, train: float, val: float, test: float) -> Sizes:
    """Rows of each part, rounded, at least one where the fraction is not 0. Raises InvalidData if there are too few."""
    wanted = 1 + (val > 0) + (test > 0)
    if num_rows < wanted:
        raise InvalidData(f"{num_rows} rows cannot be divided into {wanted} parts; give more rows, or fewer parts")
    num_val = max(int(num_rows * val + 0.5), int(val > 0))
    num_test = max(int(num_rows * test + 0.5), int(test > 0))
    whole = train + val + test > 1 - 1e-9
    num_train = num_rows - num_val - num_test if whole else min(int(num_rows * train + 0.5), num_rows - num_val - num_test)
    while num_train < 1:
        num_val, num_test = (num_val - 1, num_test) if num_val > num_test else (num_val, num_test - 1)
        num_train += 1
    return Sizes(num_train, num_val, num_test, num_rows - num_train - num_val - num_test)


def divide_random(num_rows: int, sizes: Sizes, *, seed: int) -> Divided:
    order_N = np.random.default_rng(seed).permutation(num_rows)
    return _cut(order_N, sizes)


def divide_by_time(time_N: NDArray[np.float64], sizes: Sizes) -> Divided:
    """Train holds the earliest rows (and those without a time), test the latest; what is not used is earlier than all."""
    order_N = np.argsort(np.where(np.isnan(time_N), -np.inf, time_N), kind="stable")
    return _cut(order_N[sizes.unused :], sizes)


def divide_stratified(stratum_N: Index, sizes: Sizes, *, seed: int) -> Divided:
    """Every stratum in the same shares, and at least one row of each in train.

    stratum_N: in [0, C), each at least once; needs C <= sizes.train.
    """
    rng = np.random.default_rng(seed)
    num_rows = len(stratum_N)
    order_N = np.lexsort((rng.permutation(num_rows), stratum_N))
    count_C = np.bincount(stratum_N)
    test_C = _allot(count_C, sizes.test, most_C=count_C - 1, rng=rng)
    left_C = count_C - test_C
    val_C = _allot(left_C, sizes.val, most_C=left_C - 1, rng=rng)
    left_C = left_C - val_C
    train_C = 1 + _allot(left_C, sizes.train - len(count_C), most_C=left_C - 1, rng=rng)
    parts: tuple[list[Index], list[Index], list[Index]] = ([], [], [])
    for start, stratum in zip(np.cumsum(count_C) - count_C, range(len(count_C)), strict=True):
        for rows, count in zip(parts, (train_C[stratum], val_C[stratum], test_C[stratum]), strict=True):
            rows.append(order_N[start : start + count])
            start += count
    return Divided(*(_ascending(np.concatenate(rows)) for rows in parts))


def divide_by_group(group_N: Index, sizes: Sizes, *, seed: int) -> Divided:
    """Parts that share no group, as near to the sizes as whole groups allow.

    The larger groups are placed first, each where most rows are still lacking. Raises InvalidData if there are fewer
    groups than parts.
    """
    count_C = np.bincount(group_N)
    wanted = [part for part, size in enumerate(sizes[:3]) if size]
    if len(count_C) < len(wanted):
        raise InvalidData(
            f"{len(count_C)} groups cannot be divided into {len(wanted)} parts; a group is never cut. Give more groups,"
            " fewer parts, or no group"
        )
    shuffled_C = np.random.default_rng(seed).permutation(len(count_C))
    order_C = shuffled_C[np.argsort(-count_C[shuffled_C], kind="stable")]
    lacking = [*sizes]
    part_C = np.zeros(len(count_C), dtype=np.int64)
    empty = set(wanted)
    for place, group in enumerate(order_C):
        must_fill = len(order_C) - place <= len(empty)
        candidates = sorted(empty) if must_fill else [part for part in range(4) if sizes[part]]
        chosen = max(candidates, key=lambda part: (lacking[part], -part))
        part_C[group] = chosen
        lacking[chosen] -= int(count_C[group])
        empty.discard(chosen)
    part_N = part_C[group_N]
    return Divided(*(np.flatnonzero(part_N == part).astype(np.int64) for part in range(3)))


def _cut(order_N: Sequence[int] | Index, sizes: Sizes) -> Divided:
    order = np.asarray(order_N, dtype=np.int64)
    ends = np.cumsum([sizes.train, sizes.val, sizes.test])
    return Divided(_ascending(order[: ends[0]]), _ascending(order[ends[0] : ends[1]]), _ascending(order[ends[1] : ends[2]]))


def _ascending(rows: Index) -> Index:
    return np.sort(rows.astype(np.int64))


def _allot(count_C: Index, total: int, *, most_C: Index, rng: np.random.Generator) -> Index:
    """`total` shared out in proportion to the counts by largest remainder, nowhere more than `most_C`; ties by lot."""
    ideal_C = total * count_C / max(1, int(count_C.sum()))
    given_C = np.minimum(np.floor(ideal_C).astype(np.int64), most_C)
    while (lacking := total - int(given_C.sum())) > 0:
        by_need_C = np.lexsort((rng.permutation(len(count_C)), given_C - ideal_C))
        open_C = by_need_C[given_C[by_need_C] < most_C[by_need_C]]
        given_C[open_C[:lacking]] += 1
    return given_C

"""What a table's model loses in all when a column says nothing: the column is shuffled, and the score measured again.

Letters: N rows. Source: Fisher, Rudin, Dominici 2019 (model reliance), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch, num_rows
from modeltap.explain.table import block_names, block_places

REPEATS = 5
MAX_RUN = 30_000
"""Rows that are run in all."""
MAX_SAMPLE = 1_000
LEAST_SAMPLE = 30
"""Where even that is more than MAX_RUN allows, a row is run more."""

Score = Callable[[Batch, Any], float]
"""(outputs, which rows of the sample's truth) → how bad the answers are; smaller is better."""


class Importance(NamedTuple):
    """`loss`: by how much the score is worse without what the column says, on average; `spread`: its standard deviation over
    the shuffles."""

    column: str
    loss: float
    spread: float


def permutation_importance(
    columns: Sequence[Column], rows: Batch, run: Callable[[Batch], Batch], badness: Score, *, seed: int
) -> list[Importance]:
    """The most important column first. Of an array the numbers count as columns, or blocks of them where there are many."""
    chance = np.random.default_rng(seed)
    blocks = [(column, name, block) for column in columns for name, block in _blocks(column)]
    most = max(LEAST_SAMPLE, min(MAX_SAMPLE, MAX_RUN // (REPEATS * max(1, len(blocks)))))
    chosen_N = np.sort(chance.permutation(num_rows(rows))[:most])
    sample: Batch = {name: values[chosen_N] for name, values in rows.items()}
    best = badness(run(sample), chosen_N)
    found = []
    for column, name, block in blocks:
        losses = []
        for _ in range(REPEATS):
            order_N = chance.permutation(len(chosen_N))
            own = sample[column.name]
            losses.append(badness(run({**sample, column.name: _shuffled(own, order_N, block)}), chosen_N) - best)
        found.append(Importance(name, float(np.mean(losses)), float(np.std(losses, ddof=1))))
    return sorted(found, key=lambda one: -one.loss)


def _blocks(column: Column) -> list[tuple[str, Any]]:
    """The names of what is shuffled together, and which numbers of the array that is; None is the column."""
    if not column.shape:
        return [(column.name, None)]
    block_of = block_places(math.prod(column.shape))
    return [(name, block_of == place) for place, name in enumerate(block_names(column, block_of))]


def _shuffled(values: Any, order_N: Any, block: Any) -> Any:
    if block is None:
        return values[order_N]
    flat = values.reshape(len(values), -1).copy()
    flat[:, block] = flat[order_N][:, block]
    return flat.reshape(values.shape)

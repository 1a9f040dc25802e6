"""How many rows a graph runs best at once: what it keeps of many rows does not fit into the processor's near memory, and each
of them then takes longer. Measured when a version is loaded; answers do not depend on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from modeltap.domain.signature import Batch

SIZES = (8, 16, 32, 64)
NUM_RUNS = 5
"""Of each size; the fastest counts, so that others at work on the machine do not."""
SLOW_S = 5e-4
"""A graph that takes so long for the smallest size is not measured: its layers do not wait for memory."""
CLEARLY = 1.1

Run = Callable[[Batch], Batch]


def best_rows(run: Run, sample: Batch, *, clock: Callable[[], float] = time.perf_counter) -> int | None:
    """So many rows at once are as fast a row as any number is; None where more never slow it down, or were not tried.

    sample: at least one row that the graph answers; it is repeated.
    """
    per_row_s: dict[int, float] = {}
    for size in SIZES:
        index = np.arange(size) % len(next(iter(sample.values())))
        batch = {name: values[index] for name, values in sample.items()}
        run(batch)
        took_s = []
        for _ in range(NUM_RUNS):
            started_s = clock()
            run(batch)
            took_s.append(clock() - started_s)
        if not per_row_s and min(took_s) > SLOW_S:
            return None
        per_row_s[size] = min(took_s) / size
    fastest_s = min(per_row_s.values())
    best = max(size for size, one_s in per_row_s.items() if one_s <= CLEARLY * fastest_s)
    return None if best == SIZES[-1] else best


def cut(num_rows: int, most: int) -> list[slice]:
    """The rows in pieces of nearly the same length, none longer than `most`."""
    num_pieces = -(-num_rows // most)
    edges = [num_rows * piece // num_pieces for piece in range(num_pieces + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]

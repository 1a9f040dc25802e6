"""The smallest batch from which on a row's answer does not depend on the rows beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modeltap.bundle.golden import Run
from modeltap.domain.signature import Array, Batch

CANDIDATES = (1, 2, 4, 8)
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 31, 32, 33, 64, 127, 256)


def measure_min_batch(run: Run, batch: Batch, *, sizes: Sequence[int] = SIZES) -> int:
    """The least k of CANDIDATES for which batches of k rows and more give every row the same bits; 0 if there is none.

    Matrix kernels take another path for one row than for many and then round differently. An engine pads up to k, and with 0
    runs rows one at a time. batch: at least one row; it is repeated to the largest of the ascending `sizes` that are tried.
    """
    num_rows = len(next(iter(batch.values())))
    index = np.resize(np.arange(num_rows), sizes[-1])
    filled = {name: values[index] for name, values in batch.items()}
    whole = run(filled)
    stable = {size: _agrees(run, filled, whole, size) for size in sizes}
    return next((k for k in CANDIDATES if all(same for size, same in stable.items() if size >= k)), 0)


def _agrees(run: Run, filled: Batch, whole: Batch, size: int) -> bool:
    most = len(next(iter(filled.values())))
    starts = {0, (most - size) // 2, most - size}
    for start in sorted(starts):
        rows = slice(start, start + size)
        part = run({name: values[rows] for name, values in filled.items()})
        if not all(_same(part[name], values[rows]) for name, values in whole.items()):
            return False
    return True


def _same(first: Array, second: Array) -> bool:
    if first.dtype == object:
        return bool((first == second).all())
    return first.tobytes() == second.tobytes()

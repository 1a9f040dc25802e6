"""Array arithmetic that says NaN, without a warning, where a value is undefined."""

# Letters: N rows, C classes, R resamples.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where whole is 0."""
    quotient: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return quotient


def mean_where(value_C: Floats, counted_C: NDArray[np.bool_]) -> Floats:
    """Mean over the last axis of the values that are counted, NaN where none is."""
    return ratio(np.where(counted_C, value_C, 0.0).sum(axis=-1), counted_C.sum(axis=-1).astype(np.float64))


def sum_by_class(value_RN: Floats, class_N: NDArray[np.integer], *, num_classes: int) -> Floats:
    """Sums (R, C) over the rows of each class; `class_N` is sorted."""
    sums_RC = np.zeros((len(value_RN), num_classes))
    if len(class_N):
        start = np.flatnonzero(np.concatenate(([True], class_N[1:] != class_N[:-1])))
        sums_RC[:, class_N[start]] = np.add.reduceat(value_RN, start, axis=1)
    return sums_RC

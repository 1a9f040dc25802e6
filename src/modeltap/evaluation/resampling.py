"""The bootstrap itself, deterministic by seed: how often rows, or cells of a confusion matrix, are drawn in a resample."""

# Letters: N samples, C classes, R resamples, K occupied cells of the confusion matrix.

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from modeltap.evaluation.arrays import Floats, Ints, sum_by_class
from modeltap.evaluation.classification import ClassCounts

Interval = tuple[float, float]

PERCENTILES = (2.5, 97.5)
MAX_RESAMPLES = 1000
MIN_RESAMPLES = 100
MAX_ROW_DRAWS = 100_000_000
MAX_CELL_DRAWS = 10_000_000
"""In all resamples together, before their number is reduced: about a second on one core."""
BLOCK_ELEMENTS = 1_000_000


def interval(values_R: Floats) -> Interval | None:
    """The middle 95 % of the resampled values; None where the metric is undefined in half of them or more."""
    defined_R = values_R[np.isfinite(values_R)]
    if 2 * len(defined_R) <= len(values_R):
        return None
    low, high = np.percentile(defined_R, PERCENTILES)
    return float(low), float(high)


def num_resamples(num_draws: int, *, limit: int) -> int:
    """How many resamples of `num_draws` draws: 1000, fewer where that is a lot of work and intervals are narrow anyway."""
    return max(MIN_RESAMPLES, min(MAX_RESAMPLES, limit // num_draws))


def draw_rows(num_rows: int, *, seed: int, max_draws: int = MAX_ROW_DRAWS) -> Iterator[Floats]:
    """Blocks (R, N) of how often each of N rows is drawn in a resample of N rows."""
    rng = np.random.default_rng(seed)
    left = num_resamples(num_rows, limit=max_draws)
    while left:
        size = min(left, max(1, BLOCK_ELEMENTS // num_rows))
        weight_RN = np.empty((size, num_rows))
        for weight_N in weight_RN:
            weight_N[:] = np.bincount(rng.integers(0, num_rows, num_rows), minlength=num_rows)
        yield weight_RN
        left -= size


def draw_cells(confusion_CC: Ints, *, seed: int) -> ClassCounts:
    """Class counts (R, C) of resampled confusion matrices. Drawing cells by their counts is exactly drawing rows."""
    num_classes = len(confusion_CC)
    actual_K, predicted_K = np.nonzero(confusion_CC)
    count_K = confusion_CC[actual_K, predicted_K]
    num_rows = int(count_K.sum())
    rng = np.random.default_rng(seed)
    by_predicted_K = np.argsort(predicted_K, kind="stable")
    right_K = actual_K == predicted_K
    left = num_resamples(len(count_K), limit=MAX_CELL_DRAWS)
    blocks = []
    while left:
        size = min(left, max(1, BLOCK_ELEMENTS // len(count_K)))
        cell_RK = rng.multinomial(num_rows, count_K / num_rows, size=size).astype(np.float64)
        blocks.append(
            (
                sum_by_class(cell_RK, actual_K, num_classes=num_classes),
                sum_by_class(cell_RK[:, by_predicted_K], predicted_K[by_predicted_K], num_classes=num_classes),
                sum_by_class(cell_RK[:, right_K], actual_K[right_K], num_classes=num_classes),
            )
        )
        left -= size
    return ClassCounts(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))

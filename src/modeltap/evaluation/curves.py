"""Points to plot: ROC, precision over recall, calibration, residuals; thinned, so that they are small at any N."""

# Letters: N samples, P points of a curve, B bins.

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.evaluation.arrays import Floats, Ints
from modeltap.evaluation.classification import NUM_CALIBRATION_BINS, calibration_gaps
from modeltap.evaluation.ranking import area_of_groups, group_counts, rank

MAX_POINTS = 200
MAX_CURVES = 10
"""With more classes than this, the most frequent ones have curves."""
MAX_SCATTER = 2000
RESIDUAL_BINS = (8, 40)
"""Twice the root of the number of rows, but so many at least and at most."""
LARGEST_RESIDUAL = 1e100


class RocCurve(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    auc: float
    false_positive_rate: list[float]
    true_positive_rate: list[float]


class PrecisionRecallCurve(msgspec.Struct, frozen=True, kw_only=True):
    """By rising recall. `base_rate` is the precision of saying the class always."""

    label: str
    average_precision: float
    base_rate: float
    recall: list[float]
    precision: list[float]


class CalibrationBin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose top label has a confidence in (low, high], how sure they are on average, and how often right."""

    low: float
    high: float
    num_rows: int
    confidence: float
    accuracy: float


class Residuals(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of predicted and actual values, and how all residuals (predicted - actual) spread over equal bins."""

    predicted: list[float]
    actual: list[float]
    bin_edges: list[float]
    bin_counts: list[int]


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    roc: list[RocCurve] = []
    precision_recall: list[PrecisionRecallCurve] = []
    calibration: list[CalibrationBin] = []
    residuals: Residuals | None = None


def classification_curves(prob_NC: NDArray[np.floating], label_N: Ints, labels: list[str]) -> Curves:
    """Curves of class 1 where there are two classes, of each class where there are more and both sides occur."""
    num_C = np.bincount(label_N, minlength=len(labels))
    shown = [1] if len(labels) == 2 else sorted(np.argsort(-num_C, kind="stable")[:MAX_CURVES].tolist())
    roc, precision_recall = [], []
    for c in shown:
        if not 0 < num_C[c] < len(label_N):
            continue
        positive_G, negative_G = group_counts(rank(prob_NC[:, c]), label_N == c)
        hit_P = np.cumsum(np.concatenate(([0.0], positive_G[::-1])))
        wrong_P = np.cumsum(np.concatenate(([0.0], negative_G[::-1])))
        recall_P, fall_out_P = hit_P / hit_P[-1], wrong_P / wrong_P[-1]
        kept = _thin(fall_out_P, recall_P)
        roc.append(
            RocCurve(
                label=labels[c],
                auc=float(area_of_groups(positive_G, negative_G)),
                false_positive_rate=fall_out_P[kept].tolist(),
                true_positive_rate=recall_P[kept].tolist(),
            )
        )
        precision_P = hit_P[1:] / (hit_P[1:] + wrong_P[1:])
        kept = _thin(recall_P[1:], precision_P)
        precision_recall.append(
            PrecisionRecallCurve(
                label=labels[c],
                average_precision=float((np.diff(recall_P) * precision_P).sum()),
                base_rate=float(num_C[c] / len(label_N)),
                recall=recall_P[1:][kept].tolist(),
                precision=precision_P[kept].tolist(),
            )
        )
    return Curves(roc=roc, precision_recall=precision_recall, calibration=_calibration(prob_NC, label_N))


def regression_curves(value_N: Floats, target_N: Floats, *, seed: int) -> Curves:
    """Residuals; none where they are too large to be drawn."""
    residual_N = value_N - target_N
    low, high = float(residual_N.min()), float(residual_N.max())
    largest = max(abs(low), abs(high))
    if largest > LARGEST_RESIDUAL:
        return Curves()
    # Residuals that differ in their last digits alone, or hardly from 0, have no room for that many bins.
    if high - low <= 1e-9 * largest or largest < 1 / LARGEST_RESIDUAL:
        margin = max(1e-6 * largest, 1 / LARGEST_RESIDUAL)
        low, high = low - margin, high + margin
    kept = np.arange(len(value_N))
    if len(kept) > MAX_SCATTER:
        kept = np.sort(np.random.default_rng(seed).choice(len(kept), MAX_SCATTER, replace=False))
    least, most = RESIDUAL_BINS
    num_bins = min(most, max(least, round(2 * len(residual_N) ** 0.5)))
    counts, edges = np.histogram(residual_N, bins=num_bins, range=(low, high))
    residuals = Residuals(
        predicted=value_N[kept].tolist(),
        actual=target_N[kept].tolist(),
        bin_edges=edges.tolist(),
        bin_counts=counts.tolist(),
    )
    return Curves(residuals=residuals)


def _calibration(prob_NC: NDArray[np.floating], label_N: Ints) -> list[CalibrationBin]:
    gap_N, bin_N = calibration_gaps(prob_NC, label_N)
    num_B = np.bincount(bin_N, minlength=NUM_CALIBRATION_BINS)
    confidence_B = np.bincount(bin_N, weights=prob_NC.max(axis=1), minlength=NUM_CALIBRATION_BINS)
    gap_B = np.bincount(bin_N, weights=gap_N, minlength=NUM_CALIBRATION_BINS)
    return [
        CalibrationBin(
            low=b / NUM_CALIBRATION_BINS,
            high=(b + 1) / NUM_CALIBRATION_BINS,
            num_rows=int(num_B[b]),
            confidence=float(confidence_B[b] / num_B[b]),
            accuracy=float((confidence_B[b] - gap_B[b]) / num_B[b]),
        )
        for b in np.flatnonzero(num_B).tolist()
    ]


def _thin(x_P: Floats, y_P: Floats) -> NDArray[np.intp]:
    """Positions of at most MAX_POINTS points, both ends among them, evenly spaced along the curve."""
    if len(x_P) <= MAX_POINTS:
        return np.arange(len(x_P))
    way_P = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x_P)) + np.abs(np.diff(y_P)))))
    wanted = np.linspace(0.0, way_P[-1], MAX_POINTS)
    return np.unique(np.concatenate(([0], np.searchsorted(way_P, wanted[1:-1]), [len(x_P) - 1])))

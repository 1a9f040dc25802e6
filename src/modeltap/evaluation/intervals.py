"""95 % percentile bootstrap intervals of every metric: what it would be on other rows from the same source."""

# Letters: N samples, C classes, R resamples.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modeltap.evaluation.arrays import Floats, Ints
from modeltap.evaluation.classification import (
    calibration_error,
    calibration_gaps,
    class_scores,
    label_metrics,
    log_losses,
)
from modeltap.evaluation.ranking import BinaryAreas, RestAreas, rank
from modeltap.evaluation.regression import metrics_of_means, moments
from modeltap.evaluation.resampling import MAX_ROW_DRAWS, Interval, draw_cells, draw_rows, interval

Intervals = dict[str, Interval | None]


def confusion_intervals(confusion_CC: Ints, *, seed: int) -> tuple[Intervals, list[Intervals]]:
    """Intervals of `label_metrics`, and for each class those of its precision, recall and f1."""
    counts = draw_cells(confusion_CC, seed=seed)
    scores = dict(zip(("precision", "recall", "f1"), class_scores(counts), strict=True))
    by_class = [{name: interval(score_RC[:, c]) for name, score_RC in scores.items()} for c in range(len(confusion_CC))]
    return {name: interval(values_R) for name, values_R in label_metrics(counts).items()}, by_class


def probability_intervals(prob_NC: NDArray[np.floating], label_N: Ints, *, seed: int) -> Intervals:
    """Intervals of roc_auc, log_loss and calibration_error.

    A resampled calibration error is biased upwards, because each bin's gap gets more noise; its interval is the
    percentile one moved by that bias, and not below 0.
    """
    num_rows, num_classes = prob_NC.shape
    # Rows are exchangeable: those of a resample may be drawn in the order that the area under the curve wants.
    order_N = rank(prob_NC[:, 1]).order if num_classes == 2 else np.argsort(label_N, kind="stable")
    prob_NC, label_N = prob_NC[order_N], label_N[order_N]
    loss_N = log_losses(prob_NC, label_N)
    gap_N, bin_N = calibration_gaps(prob_NC, label_N)
    areas: BinaryAreas | RestAreas | None = None
    if num_classes > 1 and len(np.unique(label_N)) == num_classes:
        areas = BinaryAreas(prob_NC, label_N) if num_classes == 2 else RestAreas(prob_NC, label_N)
    area_R: list[Floats] = []
    loss_R: list[Floats] = []
    error_R: list[float] = []
    for weight_RN in draw_rows(num_rows, seed=seed):
        if areas:
            area_R.append(areas.resampled(weight_RN))
        loss_R.append((weight_RN * loss_N).sum(axis=1) / num_rows)
        error_R.extend(calibration_error(weight_N * gap_N, bin_N) for weight_N in weight_RN)
    centred_R = np.asarray(error_R) - np.mean(error_R) + calibration_error(gap_N, bin_N)
    return {
        "roc_auc": interval(np.concatenate(area_R)) if areas else None,
        "log_loss": interval(np.concatenate(loss_R)),
        "calibration_error": interval(np.maximum(centred_R, 0.0)),
    }


def regression_intervals(value_N: Floats, target_N: Floats, *, seed: int, max_draws: int = MAX_ROW_DRAWS) -> Intervals:
    """Intervals of mse, rmse, mae and r2; `max_draws` bounds the rows drawn in all resamples together."""
    moment_4N = moments(value_N, target_N)
    mean_R4 = [
        np.stack([(weight_RN * moment_N).sum(axis=1) for moment_N in moment_4N], axis=1) / len(value_N)
        for weight_RN in draw_rows(len(value_N), seed=seed, max_draws=max_draws)
    ]
    return {name: interval(values_R) for name, values_R in metrics_of_means(np.concatenate(mean_R4)).items()}

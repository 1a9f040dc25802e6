"""Classification metrics from class probabilities, with scikit-learn's definitions; an undefined one is NaN here."""

# Letters: N samples, C classes. Functions on `ClassCounts` also take leading axes, such as resamples.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeltap.evaluation.arrays import Floats, Ints, mean_where, ratio
from modeltap.evaluation.ranking import roc_auc

NUM_CALIBRATION_BINS = 15


class ClassCounts(NamedTuple):
    """How many rows are of a class, are said to be of it, and both; (..., C) each."""

    actual: Floats
    predicted: Floats
    hit: Floats


class ClassScores(NamedTuple):
    """(..., C) each. NaN where undefined: precision of a class never predicted, recall of an absent one, F1 if both."""

    precision: Floats
    recall: Floats
    f1: Floats


def confusion_matrix(label_N: Ints, predicted_N: Ints, *, num_classes: int) -> Ints:
    """Counts (C, C): the row is the actual class, the column the predicted one."""
    cells = np.bincount(label_N * num_classes + predicted_N, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes)


def count_classes(confusion_CC: Ints) -> ClassCounts:
    counts_CC = confusion_CC.astype(np.float64)
    return ClassCounts(counts_CC.sum(axis=1), counts_CC.sum(axis=0), np.diagonal(counts_CC).copy())


def class_scores(counts: ClassCounts) -> ClassScores:
    """Precision, recall and F1 of each class."""
    actual_C, predicted_C, hit_C = counts
    return ClassScores(ratio(hit_C, predicted_C), ratio(hit_C, actual_C), ratio(2 * hit_C, actual_C + predicted_C))


def label_metrics(counts: ClassCounts) -> dict[str, Floats]:
    """What follows from predicted labels alone; each value has the leading axes of `counts`.

    Macro averages go over the classes that occur as actual or predicted, with 0 where a score is undefined; balanced
    accuracy over those that occur as actual. Micro averages equal the accuracy, as each row has one label.
    """
    actual_C, predicted_C, hit_C = counts
    num_rows = actual_C.sum(axis=-1)
    scores = class_scores(counts)
    accuracy = hit_C.sum(axis=-1) / num_rows
    metrics = {"accuracy": accuracy, "balanced_accuracy": mean_where(scores.recall, actual_C > 0)}
    occurs_C = actual_C + predicted_C > 0
    for name, score_C in zip(("precision", "recall", "f1"), scores, strict=True):
        counted_C = np.nan_to_num(score_C)
        metrics[f"{name}_macro"] = mean_where(counted_C, occurs_C)
        metrics[f"{name}_micro"] = accuracy
        metrics[f"{name}_weighted"] = (counted_C * actual_C).sum(axis=-1) / num_rows
    return metrics


def probability_metrics(prob_NC: NDArray[np.floating], label_N: Ints) -> dict[str, float]:
    """What probabilities add to `label_metrics`: roc_auc, log_loss and calibration_error."""
    gap_N, bin_N = calibration_gaps(prob_NC, label_N)
    return {
        "roc_auc": roc_auc(prob_NC, label_N),
        "log_loss": float(log_losses(prob_NC, label_N).mean()),
        "calibration_error": calibration_error(gap_N, bin_N),
    }


def log_losses(prob_NC: NDArray[np.floating], label_N: Ints) -> Floats:
    """Minus the natural logarithm of each row's probability of its label, clipped by its datatype's resolution."""
    eps = float(np.finfo(prob_NC.dtype).eps)
    prob_N = np.take_along_axis(prob_NC, label_N[:, None], axis=1)[:, 0].astype(np.float64)
    losses_N: Floats = -np.log(np.clip(prob_N, eps, 1 - eps))
    return losses_N


def calibration_gaps(prob_NC: NDArray[np.floating], label_N: Ints) -> tuple[Floats, Ints]:
    """Each row's confidence in its top label minus whether that is right, and the equal-width bin of the confidence."""
    confidence_N = prob_NC.max(axis=1).astype(np.float64)
    right_N = prob_NC.argmax(axis=1) == label_N
    bin_N = np.ceil(confidence_N * NUM_CALIBRATION_BINS).astype(np.int64) - 1
    return confidence_N - right_N, np.clip(bin_N, 0, NUM_CALIBRATION_BINS - 1)


def calibration_error(gap_N: Floats, bin_N: Ints) -> float:
    """Mean gap between stated confidence and observed accuracy, in [0, 1]; 0 is perfectly calibrated.

    Source: Guo et al. 2017, section 2; equal-width bins.
    """
    return float(np.abs(np.bincount(bin_N, weights=gap_N)).sum() / len(gap_N))

"""Area under the ROC curve: of one score, as the mean over classes, and resampled by row weights."""

# Letters: N samples, C classes, G groups of equal scores, R resamples. Functions on `...G` also take leading axes.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeltap.evaluation.arrays import Floats, Ints, mean_where, ratio, sum_by_class

EXACT = float(2**20)
"""Placements are whole multiples of 1/EXACT: a float64 sum of them is exact, so that a BLAS with any number of threads,
which adds in another order, gives the same bytes."""


class Ranking(NamedTuple):
    """Rows by rising score: `order` (N,) sorts them, `start` (G,) is where each group of equal scores begins."""

    order: NDArray[np.intp]
    start: NDArray[np.intp]


def rank(score_N: NDArray[np.floating]) -> Ranking:
    order_N = np.argsort(score_N, kind="stable")
    sorted_N = score_N[order_N]
    return Ranking(order_N, np.flatnonzero(np.concatenate(([True], sorted_N[1:] != sorted_N[:-1]))))


def group_counts(ranking: Ranking, positive_N: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Positives and negatives in each group of equal scores, by rising score."""
    sorted_N = positive_N[ranking.order].astype(np.float64)
    return np.add.reduceat(sorted_N, ranking.start), np.add.reduceat(1 - sorted_N, ranking.start)


def area_of_groups(positive_G: Floats, negative_G: Floats) -> Floats:
    """Probability that a positive scores above a negative, ties counted half; NaN where one side is empty."""
    below_G = np.cumsum(negative_G, axis=-1) - negative_G / 2
    pairs = positive_G.sum(axis=-1) * negative_G.sum(axis=-1)
    return ratio((positive_G * below_G).sum(axis=-1), pairs)


def class_area(score_N: NDArray[np.floating], positive_N: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of one class against the rest; NaN where one side is empty."""
    return float(area_of_groups(*group_counts(rank(score_N), positive_N)))


def roc_auc(prob_NC: NDArray[np.floating], label_N: Ints) -> float:
    """Area under the ROC curve of class 1 for two classes, the mean of one-vs-rest areas for more.

    NaN where a class does not occur, or there is one class only.
    """
    num_classes = prob_NC.shape[1]
    if num_classes < 2 or len(np.unique(label_N)) < num_classes:
        return float("nan")
    scored = (1,) if num_classes == 2 else range(num_classes)
    return float(np.mean([class_area(prob_NC[:, c], label_N == c) for c in scored]))


class BinaryAreas:
    """Resampled areas under the ROC curve of class 1, exact. Rows come sorted by its probability."""

    def __init__(self, prob_NC: NDArray[np.floating], label_N: Ints) -> None:
        self._start_G = rank(prob_NC[:, 1]).start
        self._positive_N = (label_N == 1).astype(np.float64)

    def resampled(self, weight_RN: Floats) -> Floats:
        """One area a resample; NaN where a class was not drawn."""
        positive_RN = weight_RN * self._positive_N
        negative_RN = weight_RN - positive_RN
        if len(self._start_G) < len(self._positive_N):
            positive_RN = np.add.reduceat(positive_RN, self._start_G, axis=1)
            negative_RN = np.add.reduceat(negative_RN, self._start_G, axis=1)
        return area_of_groups(positive_RN, negative_RN)


class RestAreas:
    """Resampled means of one-vs-rest areas over the classes that were drawn. Rows come sorted by label; all classes occur.

    To first order an area is a sum over rows of their placement, the fraction of the other side that they are on the
    right side of. One matrix product then resamples all classes; what is left out is of order 1/N of the interval's width.
    Source: DeLong et al. 1988 (placements); van der Vaart 1998, chapter 12 (projection).
    """

    def __init__(self, prob_NC: NDArray[np.floating], label_N: Ints) -> None:
        self._label_N = label_N
        self._placement_NC = np.empty(prob_NC.shape)
        for c in range(prob_NC.shape[1]):
            self._placement_NC[:, c] = np.rint(_placements(prob_NC[:, c], label_N == c) * EXACT)
        self._own_N = np.take_along_axis(self._placement_NC, label_N[:, None], axis=1)[:, 0]
        self._area_C = self._sum_by_class(self._own_N[None])[0] / np.bincount(label_N)

    def resampled(self, weight_RN: Floats) -> Floats:
        """One mean a resample."""
        num_RC = self._sum_by_class(weight_RN)
        own_RC = self._sum_by_class(weight_RN * self._own_N)
        rest_RC = weight_RN @ self._placement_NC - own_RC
        area_RC = ratio(own_RC, num_RC) + ratio(rest_RC, len(self._label_N) - num_RC) - self._area_C
        return np.clip(mean_where(area_RC, np.isfinite(area_RC)) / EXACT, 0.0, 1.0)

    def _sum_by_class(self, value_RN: Floats) -> Floats:
        return sum_by_class(value_RN, self._label_N, num_classes=len(self._placement_NC[0]))


def _placements(score_N: NDArray[np.floating], positive_N: NDArray[np.bool_]) -> Floats:
    """For a positive the fraction of negatives below it, for a negative the fraction of positives above, ties half."""
    ranking = rank(score_N)
    positive_G, negative_G = group_counts(ranking, positive_N)
    below_G = (np.cumsum(negative_G) - negative_G / 2) / negative_G.sum()
    above_G = 1 - (np.cumsum(positive_G) - positive_G / 2) / positive_G.sum()
    size_G = np.diff(np.append(ranking.start, len(score_N)))
    placement_N = np.empty(len(score_N))
    placement_N[ranking.order] = np.where(positive_N[ranking.order], np.repeat(below_G, size_G), np.repeat(above_G, size_G))
    return placement_N

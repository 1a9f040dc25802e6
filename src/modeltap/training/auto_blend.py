"""Which candidates answer together, and with what weight: greedy selection with replacement (Caruana et al. 2004).

Letters: J judged rows, C classes, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 20
"""Weights are multiples of one over the rounds that were best; more of them fit the validation rows, not the truth."""
LEAST_PROBABILITY = 1e-6
FEWEST_RACED = 1_000
SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 1.0)
WORTH = 5e-4
"""Of the loss: what a member must save to be worth its time in every prediction."""


def mean_loss(answer: NDArray[np.floating], target_J: NDArray[Any], weight_J: NDArray[np.float64], *, name: str) -> float:
    """Log loss of (J, C) probabilities, mean squared (mse) or absolute (mae) error of (J,) numbers."""
    if answer.ndim == 2:
        prob_J = answer[np.arange(len(answer)), target_J]
        return float(-(np.log(np.maximum(prob_J, LEAST_PROBABILITY)) * weight_J).sum() / weight_J.sum())
    error_J = answer - target_J
    return float(np.abs(error_J).mean() if name == "mae" else np.square(error_J).mean())


def blend_weights(
    answers_K: Sequence[NDArray[np.floating]], target_J: NDArray[Any], weight_J: NDArray[np.float64], *, loss: str
) -> NDArray[np.float64]:
    """A weight for each candidate, which add up to 1. Of those that greedy selection takes, one after the other is left out
    again while that costs less than every member costs a prediction."""
    chosen = list(range(len(answers_K)))
    weight_K, best = _greedy(answers_K, target_J, weight_J, loss=loss)
    most = best + WORTH * abs(best)
    while True:
        chosen = [k for k in chosen if weight_K[k] > 0]
        if len(chosen) == 1:
            return weight_K
        fewer = [[k for k in chosen if k != left_out] for left_out in chosen]
        tried = [_greedy([answers_K[k] for k in some], target_J, weight_J, loss=loss) for some in fewer]
        place = int(np.argmin([value for _, value in tried]))
        if tried[place][1] > most:
            return weight_K
        weight_K = np.zeros(len(answers_K))
        weight_K[fewer[place]] = tried[place][0]


def standing_answer(
    answers_K: Sequence[NDArray[np.floating]], target_J: NDArray[Any], weight_J: NDArray[np.float64], *, loss: str
) -> NDArray[np.float64]:
    """What these candidates answer together, whatever it costs a prediction."""
    weight_K, _ = _greedy(answers_K, target_J, weight_J, loss=loss)
    told: NDArray[np.float64] = np.sum([weight * answer for weight, answer in zip(weight_K, answers_K, strict=True)], axis=0)
    return told


def adds_nothing(
    answer_J: NDArray[np.floating],
    standing_J: NDArray[np.floating],
    target_J: NDArray[Any],
    weight_J: NDArray[np.float64],
    *,
    loss: str,
) -> bool:
    """Whether no share of this answer makes the standing one better by what a member must save. Of few rows nobody can say."""
    if len(answer_J) < FEWEST_RACED:
        return False
    before = mean_loss(standing_J, target_J, weight_J, name=loss)
    mixed = [mean_loss(standing_J + share * (answer_J - standing_J), target_J, weight_J, name=loss) for share in SHARES]
    return min(mixed) > before - WORTH * abs(before)


def _greedy(
    answers_K: Sequence[NDArray[np.floating]], target_J: NDArray[Any], weight_J: NDArray[np.float64], *, loss: str
) -> tuple[NDArray[np.float64], float]:
    """Weights and the loss of the mean: in each round the candidate is added that lowers it most, and the best round is kept.
    Equal losses go to the earlier candidate, and to fewer rounds."""
    wide_K = [np.asarray(answer, dtype=np.float64) for answer in answers_K]
    count_K = np.zeros(len(wide_K))
    total = np.zeros_like(wide_K[0])
    best, kept_K = np.inf, count_K
    for taken in range(ROUNDS):
        losses = [mean_loss((total + answer) / (taken + 1), target_J, weight_J, name=loss) for answer in wide_K]
        chosen = int(np.argmin(losses))
        count_K = count_K.copy()
        count_K[chosen] += 1
        total += wide_K[chosen]
        if losses[chosen] < best - 1e-12:
            best, kept_K = losses[chosen], count_K
    weight_K: NDArray[np.float64] = kept_K / kept_K.sum()
    return weight_K, best

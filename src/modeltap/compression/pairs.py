"""How much worse the child answers than its parent, on the same samples: paired differences with intervals. Pure."""

# Letters: N samples, R resamples.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.certificate import Bounds, Measure, SliceDrop
from modeltap.errors import InvalidData
from modeltap.evaluation.resampling import MAX_ROW_DRAWS, draw_rows, interval
from modeltap.evaluation.slices import RowGroup

SEED = 0
Z = 1.959963984540054
"""Beyond it, on both sides together, lies 5 % of the normal distribution."""
HALVINGS = 60
Numbers = NDArray[np.float64]
Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Drop:
    """`drop` is positive where the child is worse."""

    measure: Measure
    num_samples: int
    parent_value: float
    child_value: float
    drop: float
    drop_interval: Bounds
    p_value: float | None = None
    num_tokens: int = 0
    slices: tuple[SliceDrop, ...] = field(default=())


def loss_drop(parent_N: Sequence[float], child_N: Sequence[float], tokens_N: Sequence[int]) -> Drop:
    """How much the mean loss of a token rises from parent to child, with the interval over documents drawn again.

    parent_N, child_N: nats of a whole document, in the same order; tokens_N: how many of its tokens were predicted. Each
    document is drawn with both its losses, so that what is hard for both does not widen the interval.
    Raises InvalidData without documents, or where a loss is no number.
    """
    parent, child, tokens = (np.asarray(values, dtype=np.float64) for values in (parent_N, child_N, tokens_N))
    if not len(tokens) or not tokens.sum() > 0:
        raise InvalidData("no document has a token to predict; give texts of some words")
    if not (np.isfinite(parent).all() and np.isfinite(child).all()):
        raise InvalidData("a loss is no finite number: one of the two models does not work on these texts")
    rise = child - parent
    resampled_R = np.concatenate(
        [(weight_RN * rise).sum(axis=1) / (weight_RN * tokens).sum(axis=1) for weight_RN in draw_rows(len(tokens), seed=SEED)]
    )
    bounds = interval(resampled_R)
    assert bounds is not None
    num_tokens = int(tokens.sum())
    return Drop(
        measure="loss",
        num_samples=len(tokens),
        num_tokens=num_tokens,
        parent_value=math.fsum(parent_N) / num_tokens,
        child_value=math.fsum(child_N) / num_tokens,
        drop=float(rise.sum() / num_tokens),
        drop_interval=bounds,
    )


def accuracy_drop(parent_N: Truths, child_N: Truths, slices: Mapping[str, Sequence[RowGroup]] | None = None) -> Drop:
    """How many of the rows the child gets right less than its parent, as a share; in all, and by slice.

    parent_N, child_N: whether each answered a row rightly. The interval holds every difference that the score test for pairs
    does not refuse (Tango 1998; at a difference of 0 it is McNemar's), so that it has a width even where both answer alike.
    Raises InvalidData without rows.
    """
    if not len(parent_N):
        raise InvalidData("there is no row to compare on; the recipe leaves none for a test or validation part")
    lost, won = int((parent_N & ~child_N).sum()), int((child_N & ~parent_N).sum())
    drop = (lost - won) / len(parent_N)
    parts = []
    for column, groups in (slices or {}).items():
        for value, rows in groups:
            part = accuracy_drop(parent_N[rows], child_N[rows])
            parts.append(_slice(column, value, part))
    return Drop(
        measure="accuracy",
        num_samples=len(parent_N),
        parent_value=float(parent_N.mean()),
        child_value=float(child_N.mean()),
        drop=drop,
        drop_interval=score_interval(lost, won, len(parent_N)),
        p_value=mcnemar(lost, won),
        slices=tuple(parts),
    )


def rmse_drop(
    parent_N: Numbers,
    child_N: Numbers,
    target_N: Numbers,
    slices: Mapping[str, Sequence[RowGroup]] | None = None,
    *,
    max_draws: int = MAX_ROW_DRAWS,
) -> Drop:
    """By which part of the parent's the root of the mean squared error rises, with the interval over rows drawn again.

    parent_N, child_N: predicted numbers. Raises InvalidData without rows, or where an answer is no number.
    """
    if not len(target_N):
        raise InvalidData("there is no row to compare on; the recipe leaves none for a test or validation part")
    if not (np.isfinite(parent_N).all() and np.isfinite(child_N).all()):
        raise InvalidData("an answer is no finite number: one of the two models does not work on these rows")
    parent_error_N, child_error_N = np.square(parent_N - target_N), np.square(child_N - target_N)
    # A parent without any error has this one, so that parts of it can be told.
    floor = float(np.finfo(np.float32).eps) * max(float(np.abs(target_N).max()), float(np.finfo(np.float32).tiny))

    def rise(weight_RN: Numbers) -> Numbers:
        parent_R, child_R = ((weight_RN * error_N).sum(axis=-1) for error_N in (parent_error_N, child_error_N))
        num = len(target_N)
        ratio: Numbers = np.sqrt(child_R / num) / np.maximum(np.sqrt(parent_R / num), floor) - 1
        return np.where(parent_R == child_R, 0.0, ratio)

    resampled_R = np.concatenate([rise(weight_RN) for weight_RN in draw_rows(len(target_N), seed=SEED, max_draws=max_draws)])
    bounds = interval(resampled_R)
    assert bounds is not None
    parts = []
    for column, groups in (slices or {}).items():
        for value, rows in groups:
            part = rmse_drop(parent_N[rows], child_N[rows], target_N[rows], max_draws=max_draws // (10 * len(groups)))
            parts.append(_slice(column, value, part))
    return Drop(
        measure="rmse",
        num_samples=len(target_N),
        parent_value=math.sqrt(float(parent_error_N.mean())),
        child_value=math.sqrt(float(child_error_N.mean())),
        drop=float(rise(np.ones(len(target_N)))),
        drop_interval=bounds,
        slices=tuple(parts),
    )


def mcnemar(lost: int, won: int) -> float:
    """How likely one of two equally good models wins so many of the rows on which they differ, either way: the exact test."""
    differ = lost + won
    if not differ:
        return 1.0
    log_half = differ * math.log(0.5)
    tail = math.fsum(
        math.exp(math.lgamma(differ + 1) - math.lgamma(k + 1) - math.lgamma(differ - k + 1) + log_half)
        for k in range(min(lost, won) + 1)
    )
    return min(1.0, 2 * tail)


def score_interval(lost: int, won: int, num_rows: int) -> Bounds:
    """The differences (lost - won) / num_rows that rows like these do not refuse at 5 %, by the score of pairs."""
    middle = (lost - won) / num_rows
    return _edge(lost, won, num_rows, middle, -1.0), _edge(lost, won, num_rows, middle, 1.0)


def _edge(lost: int, won: int, num_rows: int, inside: float, outside: float) -> float:
    for _ in range(HALVINGS):
        between = (inside + outside) / 2
        if abs(_score(lost, won, num_rows, between)) <= Z:
            inside = between
        else:
            outside = between
    return inside


def _score(lost: int, won: int, num_rows: int, difference: float) -> float:
    """How many standard deviations the rows are away from a true difference. Its nuisance, the share of rows that the child
    alone gets right, is the most likely one at that difference."""
    b = -lost - won + (2 * num_rows - lost + won) * difference
    c = -won * difference * (1 - difference)
    share = (math.sqrt(max(b * b - 8 * num_rows * c, 0.0)) - b) / (4 * num_rows)
    variance = num_rows * (2 * share + difference * (1 - difference))
    distance = lost - won - num_rows * difference
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _slice(column: str, value: str, part: Drop) -> SliceDrop:
    return SliceDrop(
        column=column,
        value=value,
        num_samples=part.num_samples,
        parent_value=part.parent_value,
        child_value=part.child_value,
        drop=part.drop,
        drop_interval=part.drop_interval,
    )

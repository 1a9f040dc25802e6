"""Is the smaller model a win? Paired resampling of quality and speed, and what was demanded of them. Pure."""

# Letters: N documents, T turns of measuring, R resamples.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.certificate import Bounds, Certificate, Demand
from modeltap.errors import InvalidData
from modeltap.evaluation.resampling import draw_rows, interval

SEED = 0
Numbers = NDArray[np.float64]


def loss_drop(parent_N: Sequence[float], child_N: Sequence[float], tokens_N: Sequence[int]) -> tuple[float, Bounds]:
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
    return float(rise.sum() / tokens.sum()), bounds


def speed_gain(parent_T: Sequence[float], child_T: Sequence[float]) -> tuple[float, Bounds]:
    """Child's speed / parent's: the geometric mean over turns, with the interval over turns drawn again.

    parent_T, child_T: tokens a second, more than 0, in the turns in which both were measured.
    """
    ratio_T: Numbers = np.log(np.asarray(child_T, dtype=np.float64) / np.asarray(parent_T, dtype=np.float64))
    resampled_R = np.concatenate(
        [(weight_RT * ratio_T).sum(axis=1) / len(ratio_T) for weight_RT in draw_rows(len(ratio_T), seed=SEED)]
    )
    bounds = interval(resampled_R)
    assert bounds is not None
    return math.exp(ratio_T.mean()), (math.exp(bounds[0]), math.exp(bounds[1]))


def find_reasons(
    *, drop_interval: Bounds, gain_interval: Bounds, parent_bytes: int, child_bytes: int, measure: str, demand: Demand
) -> tuple[str, ...]:
    """Why the child is no win, in a person's words; empty if it holds the demand. It must be smaller in any case."""
    reasons = []
    if not drop_interval[1] <= demand.max_drop:
        reasons.append(
            f"its {measure} may be {drop_interval[1]:.4g} worse (upper end of the 95 % interval);"
            f" allowed is {demand.max_drop:g}"
        )
    if demand.min_gain is not None and not gain_interval[0] >= demand.min_gain:
        reasons.append(
            f"it may be no more than {gain_interval[0]:.3g} times as fast (lower end of the 95 % interval);"
            f" demanded is {demand.min_gain:g}"
        )
    if child_bytes >= parent_bytes:
        reasons.append(f"it takes {child_bytes:,} bytes, its parent {parent_bytes:,}: nothing is saved")
    return tuple(reasons)


def certify(
    *,
    parent: str,
    parent_digest: str,
    method: str,
    evidence: str,
    parent_loss_N: Sequence[float],
    child_loss_N: Sequence[float],
    tokens_N: Sequence[int],
    sizes_bytes: tuple[int, int],
    parent_speed_T: Sequence[float],
    child_speed_T: Sequence[float],
    num_streams: int,
    demand: Demand,
) -> Certificate:
    """The certificate of a compressed language model. sizes_bytes: of parent and child. Raises InvalidData."""
    drop, drop_interval = loss_drop(parent_loss_N, child_loss_N, tokens_N)
    gain, gain_interval = speed_gain(parent_speed_T, child_speed_T)
    num_tokens = int(sum(tokens_N))
    return Certificate(
        parent=parent,
        parent_digest=parent_digest,
        method=method,
        measure="loss",
        evidence=evidence,
        num_documents=len(tokens_N),
        num_tokens=num_tokens,
        parent_value=math.fsum(parent_loss_N) / num_tokens,
        child_value=math.fsum(child_loss_N) / num_tokens,
        drop=drop,
        drop_interval=drop_interval,
        parent_bytes=sizes_bytes[0],
        child_bytes=sizes_bytes[1],
        parent_speed=_typical(parent_speed_T),
        child_speed=_typical(child_speed_T),
        num_streams=num_streams,
        gain=gain,
        gain_interval=gain_interval,
        demand=demand,
        reasons=find_reasons(
            drop_interval=drop_interval,
            gain_interval=gain_interval,
            parent_bytes=sizes_bytes[0],
            child_bytes=sizes_bytes[1],
            measure="loss",
            demand=demand,
        ),
    )


def _typical(speed_T: Sequence[float]) -> float:
    """The geometric mean, so that the speeds of two sides have the ratio that is told as the gain."""
    return math.exp(math.fsum(map(math.log, speed_T)) / len(speed_T))

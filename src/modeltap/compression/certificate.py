"""Is the smaller model a win? The paired drop, speeds in turns, sizes, and what was demanded of them. Pure."""

# Letters: T turns of measuring, R resamples.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modeltap.compression.pairs import SEED, Drop
from modeltap.domain.certificate import Bounds, Certificate, Demand, tell_drop
from modeltap.evaluation.resampling import draw_rows, interval

Numbers = NDArray[np.float64]
SHOWN_SLICES = 3
"""So many slices that surely lost more than is allowed are named; the certificate has all."""
FEW_SAMPLES = 30


@dataclass(frozen=True)
class Speeds:
    """What both did a second, in the turns in which both were measured; and the median time of a request that comes alone."""

    parent_rates: Sequence[float]
    child_rates: Sequence[float]
    num_streams: int
    parent_p50s_s: Sequence[float] = ()
    child_p50s_s: Sequence[float] = ()


def speed_gain(parent_T: Sequence[float], child_T: Sequence[float]) -> tuple[float, Bounds]:
    """Child's speed / parent's: the geometric mean over turns, with the interval over turns drawn again.

    parent_T, child_T: so many a second, more than 0, in the turns in which both were measured.
    """
    ratio_T: Numbers = np.log(np.asarray(child_T, dtype=np.float64) / np.asarray(parent_T, dtype=np.float64))
    resampled_R = np.concatenate(
        [(weight_RT * ratio_T).sum(axis=1) / len(ratio_T) for weight_RT in draw_rows(len(ratio_T), seed=SEED)]
    )
    bounds = interval(resampled_R)
    assert bounds is not None
    return math.exp(ratio_T.mean()), (math.exp(bounds[0]), math.exp(bounds[1]))


def find_reasons(
    *,
    drop: Drop,
    gain_interval: Bounds,
    parent_bytes: int,
    child_bytes: int,
    demand: Demand,
    is_same_work: bool = False,
) -> tuple[str, ...]:
    """Why the child is no win, in a person's words; empty if it holds the demand. It must be smaller, or surely faster, in any
    case.

    is_same_work: an answer takes as many multiplications as the parent's; what was measured as a gain is then chance.
    """
    reasons = []
    if not drop.drop_interval[1] <= demand.max_drop:
        reason = (
            f"its {drop.measure} may be {tell_drop(drop.measure, drop.drop_interval[1])} worse (upper end of the 95 %"
            f" interval); allowed is {tell_drop(drop.measure, demand.max_drop)}"
        )
        if drop.drop <= demand.max_drop:
            reason += (
                f"; measured was {tell_drop(drop.measure, drop.drop)}, and more than {drop.num_samples:,} samples may prove it"
            )
        reasons.append(reason)
    if demand.min_gain is not None and not gain_interval[0] >= demand.min_gain:
        reasons.append(
            f"it may be no more than {gain_interval[0]:.3g} times as fast (lower end of the 95 % interval);"
            f" demanded is {demand.min_gain:g}"
        )
    if is_same_work or (child_bytes >= parent_bytes and not gain_interval[0] > 1):
        why = "it computes as much as its parent" if is_same_work else "it is not surely faster"
        reasons.append(f"it takes {child_bytes:,} bytes, its parent {parent_bytes:,}: nothing is saved, and {why}")
    return tuple(reasons)


def certify(
    *,
    parent: str,
    parent_digest: str,
    method: str,
    evidence: str,
    drop: Drop,
    sizes_bytes: tuple[int, int],
    speeds: Speeds,
    demand: Demand,
    calibration_digest: str = "",
    calibration_rows: int = 0,
    notes: Sequence[str] = (),
    is_same_work: bool = False,
) -> Certificate:
    """The certificate of a compressed version. sizes_bytes: of parent and child; is_same_work: see `find_reasons`."""
    gain, gain_interval = speed_gain(speeds.parent_rates, speeds.child_rates)
    return Certificate(
        parent=parent,
        parent_digest=parent_digest,
        method=method,
        measure=drop.measure,
        evidence=evidence,
        num_samples=drop.num_samples,
        num_tokens=drop.num_tokens,
        parent_value=drop.parent_value,
        child_value=drop.child_value,
        drop=drop.drop,
        drop_interval=drop.drop_interval,
        p_value=drop.p_value,
        slices=drop.slices,
        parent_bytes=sizes_bytes[0],
        child_bytes=sizes_bytes[1],
        parent_speed=_typical(speeds.parent_rates),
        child_speed=_typical(speeds.child_rates),
        num_streams=speeds.num_streams,
        gain=gain,
        gain_interval=gain_interval,
        parent_p50_s=_typical(speeds.parent_p50s_s) if speeds.parent_p50s_s else None,
        child_p50_s=_typical(speeds.child_p50s_s) if speeds.child_p50s_s else None,
        calibration_digest=calibration_digest,
        calibration_rows=calibration_rows,
        notes=(*notes, *_hurt_slices(drop, demand)),
        demand=demand,
        reasons=find_reasons(
            drop=drop,
            gain_interval=gain_interval,
            parent_bytes=sizes_bytes[0],
            child_bytes=sizes_bytes[1],
            demand=demand,
            is_same_work=is_same_work,
        ),
    )


def _hurt_slices(drop: Drop, demand: Demand) -> list[str]:
    """The slices of enough samples that surely lost more than is allowed of all samples together, the worst first."""
    hurt = [one for one in drop.slices if one.num_samples >= FEW_SAMPLES and one.drop_interval[0] > demand.max_drop]
    hurt.sort(key=lambda one: -one.drop)
    return [
        f"where {one.column} is {one.value} it is {tell_drop(drop.measure, one.drop)} worse"
        f" ({tell_drop(drop.measure, one.drop_interval[0])} at the least), on {one.num_samples:,} samples"
        for one in hurt[:SHOWN_SLICES]
    ]


def _typical(speed_T: Sequence[float]) -> float:
    """The geometric mean, so that the speeds of two sides have the ratio that is told as the gain."""
    return math.exp(math.fsum(map(math.log, speed_T)) / len(speed_T))

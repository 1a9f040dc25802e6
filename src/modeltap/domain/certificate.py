"""What a compressed version costs and gains against its parent, measured on one machine; kept with the version."""

from __future__ import annotations

from typing import Literal

import msgspec

Bounds = tuple[float, float]
"""The middle 95 % of what paired resampling gives, or the pairs that a test does not refuse at 5 %."""

Measure = Literal["loss", "accuracy", "rmse"]
"""loss: mean nats a token of a language model. accuracy: share of rows with the right label. rmse: of predicted numbers."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a compressed version must show before it is a candidate."""

    max_drop: float
    """How much worse it may be, at the far end of the interval: in the unit of the certificate's drop."""
    min_gain: float | None = None
    """How many times as fast it must be, at the lower end of the interval; None asks for no speed."""


class SliceDrop(msgspec.Struct, frozen=True, kw_only=True):
    """The same comparison on the rows that share a value of a column."""

    column: str
    value: str
    num_samples: int
    parent_value: float
    child_value: float
    drop: float
    drop_interval: Bounds


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Child against parent. Times differ from run to run, so no bundle's digest is made of it."""

    parent: str
    parent_digest: str
    method: str
    """`int8`, `int4`, `prune 50%`, `distil`, …"""
    measure: Measure
    evidence: str
    """Where the samples are from."""
    num_samples: int = 0
    """Documents or rows: what both answered, and what is drawn again for the interval; 0 where the oldest form did not say."""
    num_tokens: int = 0
    """Of the documents; 0 where rows were compared."""
    parent_value: float
    child_value: float
    drop: float
    """How much worse the child is. loss: in nats, 0.01 is about one percent of perplexity. accuracy: as a share, 0.01 is one
    point. rmse: as a part of the parent's."""
    drop_interval: Bounds
    p_value: float | None = None
    """Of accuracy: how likely the two differ so much, either way, by chance alone (McNemar's exact test)."""
    slices: tuple[SliceDrop, ...] = ()
    parent_bytes: int
    """What an engine loads, on disk."""
    child_bytes: int
    parent_speed: float
    """Generated tokens, or answered rows, a second, with `num_streams` requests at a time in the queue that serves them."""
    child_speed: float
    num_streams: int
    gain: float
    """Child's speed / parent's, both measured in turns on this machine."""
    gain_interval: Bounds
    parent_p50_s: float | None = None
    """Of a request of one row that comes alone, through the same queue; None for language models."""
    child_p50_s: float | None = None
    calibration_digest: str = ""
    """sha256 of the rows of the training part whose activations were measured; empty where none were."""
    calibration_rows: int = 0
    notes: tuple[str, ...] = ()
    """What was chosen on the way, and why; what does not decide and should be known."""
    demand: Demand
    reasons: tuple[str, ...] = ()
    """Why it is no win; empty: it holds what was demanded."""


def tell_drop(measure: Measure, drop: float, *, sign: str = "") -> str:
    """0.012 of accuracy → 1.2 points, of rmse → 1.2 %, of loss → 0.012; `sign` "+" shows one before what is positive."""
    match measure:
        case "accuracy":
            return f"{100 * drop:{sign}.3g} points"
        case "rmse":
            return f"{100 * drop:{sign}.3g} %"
    return f"{drop:{sign}.4g}"

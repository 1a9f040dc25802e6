"""What a compressed version costs and gains against its parent, measured on one machine; kept in its manifest."""

from __future__ import annotations

import msgspec

Bounds = tuple[float, float]
"""The middle 95 % of what paired resampling gives."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a compressed version must show before it is a candidate."""

    max_drop: float
    """How much worse it may be, at the upper end of the interval: in the unit of the certificate's measure."""
    min_gain: float | None = None
    """How many times as fast it must be, at the lower end of the interval; None asks for no speed."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Child against parent. Times differ from run to run, so no bundle's digest is made of it."""

    parent: str
    parent_digest: str
    method: str
    """`int8`, `int4`, …"""
    measure: str
    """What quality is measured in, lower is better: `loss` of a language model, in nats a token."""
    evidence: str
    """Where the documents are from."""
    num_documents: int
    num_tokens: int
    parent_value: float
    child_value: float
    drop: float
    """How much worse the child is; 0.01 of loss is about one percent of perplexity."""
    drop_interval: Bounds
    parent_bytes: int
    """What an engine loads, on disk."""
    child_bytes: int
    parent_speed: float
    """Generated tokens a second, `num_streams` texts at a time."""
    child_speed: float
    num_streams: int
    gain: float
    """Child's speed / parent's, both measured in turns on this machine."""
    gain_interval: Bounds
    demand: Demand
    reasons: tuple[str, ...] = ()
    """Why it is no win; empty: it holds what was demanded."""

"""How far a graph's answers are from those of the framework that the model was made with."""

from __future__ import annotations

import msgspec


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """`difference` is the largest of all numbers of all rows, as it is; `source` the framework with its version."""

    source: str
    difference: float
    rows: int
    is_given: bool = False
    """Whether a person gave the rows; else they were generated."""

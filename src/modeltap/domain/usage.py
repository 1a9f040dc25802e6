"""What was used: one record for each accepted request, and what it cost."""

from __future__ import annotations

from typing import Literal

import msgspec

Unit = Literal["row", "token", "second", "image", "explanation"]
UNITS: tuple[Unit, ...] = ("row", "token", "second", "image", "explanation")

Status = Literal["answered", "failed", "cancelled", "voided"]
"""answered: the answer was made and charged. failed: a named error after acceptance, no charge. cancelled: the client left
before the answer was made, no charge. voided: the process died before the answer was made, no charge."""

Delivery = Literal["delivered", "unknown", "none"]
"""delivered: every byte was handed to the system. unknown: it may or may not have arrived. none: there was no answer."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What 1,000 units cost, in millionths of the currency; a unit's cost is then a whole number of billionths."""

    row: int = 0
    token: int = 0
    second: int = 0
    image: int = 0
    explanation: int = 0

    def cost_nano(self, unit: Unit, num_units: int) -> int:
        """The exact cost in billionths of the currency."""
        rate: int = getattr(self, unit)
        return rate * num_units


class UsageRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One accepted request, as it ended. Times are UTC seconds since 1970 and microseconds.

    `writer` and `number` are the identity: each writing process numbers its requests 1, 2, 3, … without gaps.
    """

    writer: str
    number: int
    request_id: str
    tenant: str
    key: str
    deployment: str
    model: str
    """name@version, or '' where none was reached."""
    unit: Unit
    units: int
    cost_nano: int
    accepted_at_s: float
    queue_us: int
    compute_us: int
    status: Status
    code: str
    """Of the named error; '' if answered."""
    delivery: Delivery

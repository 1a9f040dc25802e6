"""Usage of two tenants over two days, written by the real meter into a home; what it comes to is known to the last digit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from modeltap.domain.quota import QuotaBook
from modeltap.domain.usage import Unit
from modeltap.serving.meter import Meter
from modeltap.storage.segments import SegmentWriter

DAY_S = 86_400.0
FIRST_DAY_S = 20_000 * DAY_S
"""2024-10-04."""


class Call(NamedTuple):
    """One request: who made it, when, and what it used; `units` 0 is one that failed."""

    tenant: str
    key: str
    deployment: str
    at_s: float
    units: int
    cost_nano: int
    unit: Unit = "row"


CALLS = (
    Call("acme", "ka", "digits", FIRST_DAY_S, 3, 1_500_000),
    Call("acme", "ka", "digits", FIRST_DAY_S + 10, 4, 2_000_000),
    Call("acme", "kb", "wine", FIRST_DAY_S + 20, 0, 0),
    Call("acme", "kb", "wine", FIRST_DAY_S + DAY_S - 0.5, 1, 1),
    Call("acme", "ka", "photos", FIRST_DAY_S + DAY_S, 2, 40_000_000_000, "image"),
    Call("globex", "kg", "digits", FIRST_DAY_S + DAY_S + 5, 100, 7_000_000),
)
"""In the order of their acceptance. acme: 8 rows for 0.003500001, and 2 images for 40."""


@contextmanager
def metering(home: Path, clock: list[float]) -> Iterator[Meter]:
    """A meter that writes into the home, at the moment that `clock` says."""
    segments = SegmentWriter(home / "usage", f"w{int(clock[0])}")
    meter = Meter(segments, QuotaBook(), clock=lambda: clock[0])
    yield meter
    meter.close()


def write_usage(home: Path) -> None:
    """All of CALLS, answered and delivered; those without units failed."""
    clock = [FIRST_DAY_S]
    with metering(home, clock) as meter:
        for number, call in enumerate(CALLS, start=1):
            clock[0] = call.at_s
            ticket = meter.reserve(
                request_id=f"req-{number}",
                tenant=call.tenant,
                key=call.key,
                deployment=call.deployment,
                unit=call.unit,
                units=call.units or 1,
                cost_nano=call.cost_nano,
            )
            if call.units:
                meter.settle(ticket, model=f"{call.deployment}@1", units=call.units, queue_us=10, compute_us=100)
                meter.delivered(ticket)
            else:
                meter.fail(ticket, "invalid_value", model=f"{call.deployment}@1")

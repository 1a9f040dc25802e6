"""A meter that sells rows of a model, with a clock that stands still."""

from __future__ import annotations

import os
from pathlib import Path

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.quota import QuotaBook
from modeltap.serving.meter import Meter, Ticket
from modeltap.storage.segments import SegmentWriter

NOW_S = 1_795_323_967.123456


class Shop:
    """A meter on a folder, and a clock that stands still."""

    def __init__(self, folder: Path, writer: str = "w1", *, max_bytes: int = 1 << 20) -> None:
        self.folder = folder
        self.now_s = NOW_S
        self.segments = SegmentWriter(folder, writer, max_bytes=max_bytes)
        self.is_dead = False
        self.meter = Meter(self.segments, QuotaBook(), clock=lambda: self.now_s)

    def reserve(self, tenant: str = "acme", key: str = "k1", deployment: str = "digits") -> Ticket:
        return self.meter.reserve(
            request_id="r", tenant=tenant, key=key, deployment=deployment, unit="row", units=10, cost_nano=1000
        )

    def settle(self, ticket: Ticket, units: int = 10, *, answer: StoredAnswer | None = None) -> Ticket:
        self.meter.settle(ticket, model="digits@1", units=units, queue_us=1, compute_us=2, answer=answer)
        return ticket

    def sell(self, units: int = 10, **names: str) -> None:
        self.meter.delivered(self.settle(self.reserve(**names), units))

    def kill(self) -> None:
        """The process is gone, and with it the lock."""
        self.is_dead = True
        for handle in (*self.segments.handles(), self.segments._lock):
            os.close(handle)

    def close(self) -> None:
        """In order, unless it was killed."""
        if not self.is_dead:
            self.meter.close()

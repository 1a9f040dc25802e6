"""The meter of one serving process: its segments, under a name of their own, and who waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from modeltap.domain.quota import QuotaBook
from modeltap.serving.meter import Meter
from modeltap.settings import Settings
from modeltap.storage.reserve import spend_reserve
from modeltap.storage.segments import USAGE_FOLDER, SegmentWriter, new_writer_id
from modeltap.storage.segments_sync import GroupCommit


class Metering:
    """`commit` is None where a record need not survive the loss of power."""

    def __init__(self, meter: Meter, segments: SegmentWriter) -> None:
        self.meter = meter
        self.writer = segments.writer
        self.commit = GroupCommit(segments) if segments.durability == "power" else None

    def close(self) -> None:
        """What is open now was not answered."""
        if self.commit is not None:
            self.commit.close()
        self.meter.close()


def open_metering(settings: Settings, book: QuotaBook, wall: Callable[[], float]) -> Metering:
    """A meter of a new writer. Raises StorageFailed."""
    home: Path = settings.home
    segments = SegmentWriter(
        home / USAGE_FOLDER, new_writer_id(wall()), durability=settings.durability, spare=lambda: spend_reserve(home)
    )
    later = None if settings.durability == "power" else _soon
    return Metering(Meter(segments, book, clock=wall, later=later), segments)


def _soon(then: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(then)

"""What waits and what runs: an entry is the rows of one request, a batch is the entries that run together."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, Final, Literal

State = Literal["new", "refused", "waiting", "running", "answered", "cancelled", "lost"]
"""new → waiting | refused; waiting → running | cancelled; running → answered | cancelled | lost | waiting (once, if its engine
died). An entry that was cancelled while it ran is cancelled at once and stays so; only its rows run to the end."""

Priority = Literal[0, 1]
INTERACTIVE: Final = 0
BULK: Final = 1


class Entry:
    """One request's place. Times are monotonic seconds; the payload is the caller's and never looked at."""

    __slots__ = (
        "arrived_s",
        "batch",
        "bucket",
        "deadline_s",
        "number",
        "payload",
        "priority",
        "retried",
        "rows",
        "size_bytes",
        "state",
    )

    def __init__(
        self,
        rows: int,
        *,
        size_bytes: int = 0,
        deadline_s: float = math.inf,
        bucket: Hashable = None,
        priority: Priority = INTERACTIVE,
        payload: Any = None,
    ) -> None:
        """rows: at least 1. bucket: entries of different buckets are never in one batch."""
        self.rows = rows
        self.size_bytes = size_bytes
        self.deadline_s = deadline_s
        self.bucket = bucket
        self.priority: Priority = priority
        self.payload = payload
        self.arrived_s = 0.0
        self.number = 0
        """Its place in the order in which the queue admitted entries."""
        self.retried = False
        self.state: State = "new"
        self.batch: Batch | None = None
        """Where it waits or runs; None before and after, so that neither holds the other in memory."""

    @property
    def is_cancelled(self) -> bool:
        return self.state == "cancelled"


class Batch:
    """Entries of one bucket and one class, in the order of their arrival. Made and changed by the queue alone."""

    __slots__ = (
        "bucket",
        "cost_s",
        "deadline_s",
        "due_s",
        "ends_s",
        "entries",
        "kept_rows",
        "priority",
        "rows",
        "size_bytes",
        "taken_s",
    )

    def __init__(self, bucket: Hashable, priority: Priority) -> None:
        self.bucket = bucket
        self.priority: Priority = priority
        self.entries: list[Entry] = []
        self.rows = 0
        self.size_bytes = 0
        self.kept_rows = 0
        """The plan keeps time for at least so many rows: others are expected to join."""
        self.cost_s = 0.0
        """Seconds that it will run, as the cost line says, with the rows that time is kept for."""
        self.deadline_s = math.inf
        """The first deadline of its entries."""
        self.due_s = math.inf
        """When it must have ended: the same, less the margin that each was admitted with."""
        self.taken_s = 0.0
        self.ends_s = 0.0
        """When it will have run, once it was taken."""

    def add(self, entry: Entry, due_s: float) -> None:
        """The entry is the last in it."""
        self.entries.append(entry)
        self.rows += entry.rows
        self.size_bytes += entry.size_bytes
        if due_s < self.due_s:
            self.due_s = due_s
        if entry.deadline_s < self.deadline_s:
            self.deadline_s = entry.deadline_s

    def drop(self, entry: Entry) -> None:
        """The entry is in it no more."""
        self.entries.remove(entry)
        self.rows -= entry.rows
        self.size_bytes -= entry.size_bytes

    def cut(self, rows: int) -> list[Entry]:
        """Takes out its first entries, as many as have no more rows together; some stay."""
        num_cut = 0
        for entry in self.entries:
            if entry.rows > rows:
                break
            rows -= entry.rows
            num_cut += 1
        cut = self.entries[:num_cut]
        del self.entries[:num_cut]
        num_rows = sum(entry.rows for entry in cut)
        self.rows -= num_rows
        self.kept_rows -= num_rows
        self.size_bytes -= sum(entry.size_bytes for entry in cut)
        return cut

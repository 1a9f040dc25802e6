"""What a version has done since it was loaded, in the words of the Open Inference Protocol's statistics."""

from __future__ import annotations

import time


class Tally:
    """So many times, so long together."""

    __slots__ = ("count", "total_s")

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0

    def add(self, took_s: float) -> None:
        self.count += 1
        self.total_s += took_s


class Statistics:
    """Counted on the event loop that serves the version."""

    def __init__(self) -> None:
        self.answered = Tally()
        """Requests, from their arrival to their outputs."""
        self.failed = Tally()
        self.queued = Tally()
        self.computed = Tally()
        """The run that a request was part of, counted for each request."""
        self.rows = 0
        """Of the answered requests."""
        self.last_at_s = 0.0
        """UTC seconds, of the last answered request; 0 if there was none."""
        self.runs: dict[int, Tally] = {}
        """By the number of rows that ran together."""

    def count_request(self, *, rows: int, queue_s: float, compute_s: float, took_s: float, is_answered: bool) -> None:
        """A request has its outputs, or failed after it was read."""
        if not is_answered:
            self.failed.add(took_s)
            return
        answered, queued, computed = self.answered, self.queued, self.computed
        answered.count += 1
        answered.total_s += took_s
        queued.count += 1
        queued.total_s += queue_s
        computed.count += 1
        computed.total_s += compute_s
        self.rows += rows
        self.last_at_s = time.time()

    def count_run(self, rows: int, run_s: float) -> None:
        """The engine has run a batch."""
        tally = self.runs.get(rows)
        if tally is None:
            tally = self.runs[rows] = Tally()
        tally.add(run_s)

    @property
    def num_runs(self) -> int:
        return sum(tally.count for tally in self.runs.values())

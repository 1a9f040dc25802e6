"""A discrete-event simulation of the queue and its engines: what becomes of each request, and the figures that sum it up.

The queue is the real one; only the clock, the arrivals and the engines are played. The same arguments give the same outcome.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from modeltap.batching.entry import Batch, Entry
from modeltap.batching.queue import BatchQueue
from modeltap.batching.workload import Request, RunTime
from modeltap.errors import Overloaded

Hold = Callable[[BatchQueue, float], float | None]
"""(queue, now) → the time until which free engines are kept idle although something may wait; None to go now."""

How = Literal["refused", "answered", "cancelled", "lost"]


class Outcome(NamedTuple):
    """How one request ended, and when. batch: the index of the batch that answered it."""

    request: Request
    how: How
    ended_s: float
    batch: int | None = None

    @property
    def latency_s(self) -> float:
        return self.ended_s - self.request.at_s

    @property
    def is_late(self) -> bool:
        return self.how == "answered" and self.latency_s > self.request.within_s


class Run(NamedTuple):
    """One batch on an engine. requests: the indices of those in it, in its order; died: whether the engine did."""

    taken_s: float
    ended_s: float
    rows: int
    requests: tuple[int, ...]
    died: bool


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A second of simulated time is a second of the figures; rows of late answers are no goodput."""

    offered: int
    answered: int
    refused: int
    cancelled: int
    lost: int
    late: int
    goodput_rows: float
    """Rows a second that were answered in time."""
    p50_s: float
    p99_s: float
    """Latencies of what was answered; NaN if nothing was."""
    mean_batch_rows: float
    utilisation: float
    """The part of the engines' time in which they ran something."""


class Simulation(NamedTuple):
    outcomes: list[Outcome]
    """In the order of the requests."""
    runs: list[Run]
    engines: int
    ended_s: float

    def summary(self) -> Summary:
        how = [outcome.how for outcome in self.outcomes]
        latency_A = np.array([outcome.latency_s for outcome in self.outcomes if outcome.how == "answered"])
        good_rows = sum(o.request.rows for o in self.outcomes if o.how == "answered" and not o.is_late)
        span_s = self.ended_s or 1.0
        p50_s, p99_s = np.quantile(latency_A, (0.5, 0.99)).tolist() if len(latency_A) else (math.nan, math.nan)
        return Summary(
            offered=len(how),
            answered=how.count("answered"),
            refused=how.count("refused"),
            cancelled=how.count("cancelled"),
            lost=how.count("lost"),
            late=sum(outcome.is_late for outcome in self.outcomes),
            goodput_rows=good_rows / span_s,
            p50_s=p50_s,
            p99_s=p99_s,
            mean_batch_rows=sum(run.rows for run in self.runs) / len(self.runs) if self.runs else 0.0,
            utilisation=sum(run.ended_s - run.taken_s for run in self.runs) / (span_s * self.engines),
        )


def at_once(_queue: BatchQueue, _now_s: float) -> float | None:
    """The queue as it is: nothing is held beyond what it lingers itself."""
    return None


def fixed_window(window_s: float) -> Hold:
    """What many servers do instead: a batch waits until it is full or its first entry has waited so long."""

    def hold(queue: BatchQueue, _now_s: float) -> float | None:
        oldest_s = queue.oldest_s
        if oldest_s is None or queue.waiting_rows >= queue.max_batch_rows:
            return None
        return oldest_s + window_s

    return hold


def simulate(
    requests: Sequence[Request],
    queue: BatchQueue,
    run_time: RunTime,
    *,
    hold: Hold = at_once,
    deaths: Sequence[float] = (),
    revive_s: float = 1.0,
) -> Simulation:
    """Plays the requests, sorted by time, to the end. At each of `deaths` the engine of the batch that runs longest dies, or an
    idle one, and another takes its place after `revive_s`."""
    return _Play(requests, queue, run_time, hold, deaths, revive_s).to_end()


class _Play:
    """The state of one simulation: the clock is the time of the event that is handled."""

    def __init__(
        self,
        requests: Sequence[Request],
        queue: BatchQueue,
        run_time: RunTime,
        hold: Hold,
        deaths: Sequence[float],
        revive_s: float,
    ) -> None:
        self.requests = requests
        self.queue = queue
        self.run_time = run_time
        self.hold = hold
        self.revive_s = revive_s
        self.engines = queue.engines
        self.entries: list[Entry | None] = [None] * len(requests)
        self.outcomes: list[Outcome | None] = [None] * len(requests)
        self.runs: list[Run] = []
        self.events: list[tuple[float, int, Callable[[float, Any], None], Any]] = []
        self.num_events = 0
        self.ended_s = 0.0
        for at_s in deaths:
            self.later(at_s, self.die, None)

    def later(self, at_s: float, act: Callable[[float, Any], None], what: object) -> None:
        self.num_events += 1
        heapq.heappush(self.events, (at_s, self.num_events, act, what))

    def to_end(self) -> Simulation:
        upcoming = 0
        while self.events or upcoming < len(self.requests):
            if upcoming < len(self.requests) and not (self.events and self.events[0][0] <= self.requests[upcoming].at_s):
                now_s = self.requests[upcoming].at_s
                self.arrive(now_s, upcoming)
                upcoming += 1
            else:
                now_s, _, act, what = heapq.heappop(self.events)
                act(now_s, what)
            self.start_batches(now_s)
        ended = [outcome for outcome in self.outcomes if outcome is not None]
        assert len(ended) == len(self.requests), "every request ends"
        return Simulation(ended, self.runs, self.engines, self.ended_s)

    def end(self, index: int, how: How, now_s: float, batch: int | None = None) -> None:
        assert self.outcomes[index] is None, "no request ends twice"
        self.outcomes[index] = Outcome(self.requests[index], how, now_s, batch)
        self.ended_s = max(self.ended_s, now_s)

    def arrive(self, now_s: float, index: int) -> None:
        request = self.requests[index]
        entry = Entry(
            request.rows,
            size_bytes=request.size_bytes,
            deadline_s=now_s + request.within_s,
            bucket=request.bucket,
            priority=request.priority,
            payload=index,
        )
        try:
            self.queue.offer(entry, now_s)
        except Overloaded:
            self.end(index, "refused", now_s)
            return
        self.entries[index] = entry
        if request.cancel_after_s is not None:
            self.later(now_s + request.cancel_after_s, self.cancel, index)

    def start_batches(self, now_s: float) -> None:
        while True:
            until_s = self.hold(self.queue, now_s)
            if until_s is not None and until_s > now_s:
                break
            batch = self.queue.take(now_s)
            if batch is None:
                until_s = self.queue.linger_until(now_s)
                break
            run_s = self.run_time(batch.rows, batch.bucket)
            self.later(now_s + run_s, self.finish, (batch, run_s))
        if until_s is not None:
            self.later(until_s, self.wake, None)

    def wake(self, _now_s: float, _what: None) -> None:
        """An event that only lets the engines look at the queue again."""

    def finish(self, now_s: float, what: tuple[Batch, float]) -> None:
        batch, run_s = what
        if batch not in self.queue.running:
            return
        self.queue.finish(batch, now_s, run_s)
        self.record(batch, now_s, died=False)
        for entry in batch.entries:
            if not entry.is_cancelled:
                self.end(entry.payload, "answered", now_s, len(self.runs) - 1)

    def record(self, batch: Batch, now_s: float, *, died: bool) -> None:
        indices = tuple(entry.payload for entry in batch.entries)
        self.runs.append(Run(batch.taken_s, now_s, batch.rows, indices, died))

    def cancel(self, now_s: float, index: int) -> None:
        entry = self.entries[index]
        if entry is not None and self.queue.cancel(entry):
            self.end(index, "cancelled", now_s)

    def die(self, now_s: float, _what: None) -> None:
        if not self.queue.engines:
            return
        running = self.queue.running
        if running:
            self.record(running[0], now_s, died=True)
            for entry in self.queue.lose(running[0], now_s):
                self.end(entry.payload, "lost", now_s)
        else:
            self.queue.set_engines(self.queue.engines - 1)
        self.later(now_s + self.revive_s, self.revive, None)

    def revive(self, _now_s: float, _what: None) -> None:
        self.queue.set_engines(self.queue.engines + 1)

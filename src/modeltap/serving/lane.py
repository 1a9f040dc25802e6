"""One version's queue and the replicas that empty it: the shell around `batching/queue`, with the clock and the event loop.

offer → (the loop's next turn: what arrived together runs together) → take → stack → run → split → each request's `done`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from modeltap.batching.queue import Batch as Taken
from modeltap.batching.queue import BatchQueue, Entry
from modeltap.batching.stack import split, stack
from modeltap.domain.signature import Batch
from modeltap.errors import Broken, ModeltapError, ReplicaLost, Unavailable
from modeltap.serving.backend import ReplicaBackend

FAILED = "the graph failed; the server's log has the reason"

Answered = Callable[["Batch | BaseException"], None]

_log = logging.getLogger(__name__)


class Work:
    """What one request wants run, and where its outputs go. Times are seconds; `done` is called once, unless cancelled."""

    __slots__ = ("compute_s", "done", "ended_s", "inputs", "queue_s")

    def __init__(self, inputs: Batch, done: Answered) -> None:
        self.inputs = inputs
        self.done = done
        self.queue_s = 0.0
        self.compute_s = 0.0
        self.ended_s = 0.0
        """When its run ended; 0 before."""


class Lane:
    """Lives on one event loop. `queue.offer` is the caller's door: `submit` raises what it raises.

    Outputs of a graph that is not batched have no axis of rows; its queue must put no two requests together.
    """

    def __init__(self, queue: BatchQueue, *, is_batched: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.queue = queue
        self._is_batched = is_batched
        self._clock = clock
        self._idle: deque[ReplicaBackend] = deque()
        self._replicas: list[ReplicaBackend] = []
        self._pump_due = False
        self._linger: asyncio.TimerHandle | None = None
        self._refusal: Unavailable | None = None
        self._quiet: asyncio.Event | None = None
        self.on_run: Callable[[int, float], None] = lambda _rows, _run_s: None
        """Told of every batch that ran: its rows, and the seconds that the engine worked."""

    @property
    def replicas(self) -> tuple[ReplicaBackend, ...]:
        return tuple(self._replicas)

    def add(self, replica: ReplicaBackend) -> None:
        """One more engine takes batches from now on."""
        self._refusal = None
        self._replicas.append(replica)
        self._idle.append(replica)
        self.queue.set_engines(len(self._replicas))
        self._schedule()

    def remove(self, replica: ReplicaBackend) -> None:
        """It gets no more batches; what it runs now is answered. One that is not here any more is no error."""
        if replica in self._replicas:
            self._replicas.remove(replica)
        if replica in self._idle:
            self._idle.remove(replica)
        self.queue.set_engines(len(self._replicas))

    def submit(self, entry: Entry) -> None:
        """Queues the entry, whose payload is a Work. Raises Overloaded, and what the lane was abandoned with."""
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)
        self.queue.offer(entry, self._clock())
        if not self._pump_due:
            self._schedule()

    def cancel(self, entry: Entry) -> bool:
        """The caller is gone: a waiting entry is dropped, a running one has its outputs thrown away."""
        was_there = self.queue.cancel(entry)
        if self._quiet is not None:
            self._look_if_quiet()
        return was_there

    def abandon(self, problem: Unavailable) -> None:
        """Every waiting entry ends with the problem, and new ones are refused with it, until an engine is added."""
        self._refusal = problem
        now_s = self._clock()
        self.queue.set_engines(len(self.queue.running) + self.queue.waiting_entries + 2)  # enough that none lingers
        while (taken := self.queue.take(now_s)) is not None:
            entries = [entry for entry in taken.entries if not entry.is_cancelled]
            self.queue.finish(taken, now_s, None)
            for entry in entries:
                entry.payload.done(problem)
        self.queue.set_engines(len(self._replicas))
        self._look_if_quiet()

    async def drain(self, timeout_s: float) -> bool:
        """Whether nothing waits or runs any more within that time."""
        self._quiet = asyncio.Event()
        self._look_if_quiet()
        try:
            async with asyncio.timeout(timeout_s):
                await self._quiet.wait()
        except TimeoutError:
            return False
        finally:
            self._quiet = None
        return True

    def _look_if_quiet(self) -> None:
        if self._quiet is not None and not self.queue.waiting_entries and not self.queue.running:
            self._quiet.set()

    def _schedule(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Batches for all idle engines. After one that ran right here the event loop has its turn: others arrive meanwhile."""
        self._pump_due = False
        while self._idle and not self._pump_due:
            now_s = self._clock()
            taken = self.queue.take(now_s)
            if taken is None:
                self._wait(now_s)
                return
            self._start(self._idle.popleft(), taken, now_s)

    def _wait(self, now_s: float) -> None:
        """Comes back when lingering for a fuller batch no longer pays."""
        until_s = self.queue.linger_until(now_s)
        if until_s is not None and self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(max(0.0, until_s - now_s), self._lingered)

    def _lingered(self) -> None:
        self._linger = None
        self._pump()

    def _start(self, replica: ReplicaBackend, taken: Taken, now_s: float) -> None:
        works: list[Work] = [entry.payload for entry in taken.entries]
        finished = partial(self._finished, replica, taken, now_s)
        try:
            inputs = stack([work.inputs for work in works])
        except (ModeltapError, MemoryError, TypeError, ValueError) as problem:  # numpy's, where tensors do not fit together
            finished(problem, 0.0)
            return
        replica.run(inputs, finished, expected_s=taken.cost_s)

    def _finished(
        self, replica: ReplicaBackend, taken: Taken, started_s: float, outcome: Batch | BaseException, run_s: float
    ) -> None:
        """The batch ran. One that failed as a whole runs again, request by request, so that only the one at fault fails."""
        parts = self._parts(outcome, taken.entries)
        if not isinstance(parts, BaseException):
            self.on_run(taken.rows, run_s)
            self._end(replica, taken, started_s, parts, run_s, learn=True)
        elif isinstance(parts, ReplicaLost):
            self._lost(replica, taken, parts)
        elif len(taken.entries) == 1:
            self._end(replica, taken, started_s, [_named(parts)], run_s, learn=False)
        else:
            self._run_apart(replica, taken, started_s, [], run_s)

    def _parts(self, outcome: Batch | BaseException, entries: Sequence[Entry]) -> Sequence[Batch] | BaseException:
        """The outputs of each entry, or why there are none."""
        if isinstance(outcome, BaseException):
            return outcome
        if not self._is_batched:
            return [outcome]
        try:
            return split(outcome, [entry.rows for entry in entries])
        except ModeltapError as problem:
            return problem

    def _run_apart(
        self,
        replica: ReplicaBackend,
        taken: Taken,
        started_s: float,
        parts: list[Batch | BaseException],
        total_s: float,
    ) -> None:
        """Runs the next entry of the batch alone, until each has its part."""
        while len(parts) < len(taken.entries) and taken.entries[len(parts)].is_cancelled:
            parts.append(Broken(FAILED))  # nobody hears it
        if len(parts) == len(taken.entries):
            self._end(replica, taken, started_s, parts, total_s / len(parts), learn=False)
            return
        entry = taken.entries[len(parts)]

        def ended(outcome: Batch | BaseException, run_s: float) -> None:
            alone = self._parts(outcome, [entry])
            if isinstance(alone, ReplicaLost):
                self._lost(replica, taken, alone)
                return
            parts.append(_named(alone) if isinstance(alone, BaseException) else alone[0])
            asyncio.get_running_loop().call_soon(self._run_apart, replica, taken, started_s, parts, total_s + run_s)

        replica.run(entry.payload.inputs, ended, expected_s=taken.cost_s)

    def _lost(self, replica: ReplicaBackend, taken: Taken, problem: ReplicaLost) -> None:
        """The engine is gone. Its requests go to another one, or to the next that comes, once."""
        lost = self.queue.lose(taken, self._clock())
        self.remove(replica)
        for entry in lost:
            entry.payload.done(problem)
        self._schedule()
        self._look_if_quiet()

    def _end(
        self,
        replica: ReplicaBackend,
        taken: Taken,
        started_s: float,
        parts: Sequence[Batch | BaseException],
        run_s: float,
        *,
        learn: bool,
    ) -> None:
        now_s = self._clock()
        self.queue.finish(taken, now_s, now_s - started_s if learn else None)
        if replica in self._replicas:
            self._idle.append(replica)
            if self.queue.waiting_entries:
                self._schedule()
        for entry, part in zip(taken.entries, parts, strict=True):
            if entry.is_cancelled:
                continue
            work: Work = entry.payload
            work.queue_s = started_s - entry.arrived_s
            work.compute_s = run_s
            work.ended_s = now_s
            work.done(part)
        if self._quiet is not None:
            self._look_if_quiet()


def _named(problem: BaseException) -> ModeltapError:
    if isinstance(problem, ModeltapError):
        return problem
    _log.error("a batch failed", exc_info=problem)
    return Broken(FAILED)

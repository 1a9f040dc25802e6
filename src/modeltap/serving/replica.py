"""A replica in this process: short runs on the event loop itself, longer ones on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from queue import SimpleQueue

from modeltap.batching.cost import CostLine
from modeltap.domain.engine import Engine
from modeltap.domain.replica import ReplicaEvent, ReplicaState, next_state
from modeltap.domain.signature import Batch
from modeltap.errors import Broken, ModeltapError, ReplicaLost
from modeltap.serving.backend import Done

INLINE_S = 2e-3
"""Handing a batch to a thread and back costs about a tenth of this, and while the graph runs here nobody else is served."""
KNOWN_RUNS = 4
"""After so many the replica knows itself how long its engine works."""

_log = logging.getLogger(__name__)


class LocalReplica:
    """Has the engine to itself, and closes it. The engine is warm: its golden rows were replayed."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.state: ReplicaState = "ready"
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        self._jobs: SimpleQueue[tuple[Batch, Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._work_s = CostLine()
        """Processor time by rows. What passes meanwhile, waiting for a core or for the interpreter, is longer on a thread, and
        would keep a run there once it was sent there."""

    def run(self, inputs: Batch, done: Done, *, expected_s: float = 0.0) -> None:
        if self.state != "ready":
            done(ReplicaLost(f"the engine of {self.name} was closed; try again"), 0.0)
        elif self._expected(inputs, expected_s) < INLINE_S:
            done(*self._timed(inputs))
        else:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"engine-{self.name}", daemon=True)
                self._thread.start()
            self._idle.clear()
            self._jobs.put((inputs, done))

    async def close(self) -> None:
        if self.state == "ready":
            self._advance("drain")
            await self._idle.wait()
            if self._thread is not None:
                self._jobs.put(None)
                await asyncio.to_thread(self._thread.join)
            self._engine.close()
            self._advance("stop")

    def _expected(self, inputs: Batch, expected_s: float) -> float:
        return self._work_s.predict(_rows(inputs)) if self._work_s.num_seen >= KNOWN_RUNS else expected_s

    def _timed(self, inputs: Batch) -> tuple[Batch | BaseException, float]:
        started_s, worked_s = time.perf_counter(), time.thread_time()
        outcome: Batch | BaseException
        try:
            outcome = self._engine.run(inputs)
        except ModeltapError as problem:
            outcome = problem
        except Exception:  # noqa: BLE001  the edge of the data plane: what fails is one batch
            _log.exception("the graph of %s failed", self.name)
            outcome = Broken("the graph failed; the server's log has the reason")
        else:
            self._work_s.learn(_rows(inputs), time.thread_time() - worked_s)
        return outcome, time.perf_counter() - started_s

    def _work(self) -> None:
        """The thread: batch after batch, holding none while it waits."""
        while (job := self._jobs.get()) is not None:
            inputs, done = job
            outcome, run_s = self._timed(inputs)
            self._loop.call_soon_threadsafe(self._answered, done, outcome, run_s)
            del job, inputs, done, outcome

    def _answered(self, done: Done, outcome: Batch | BaseException, run_s: float) -> None:
        self._idle.set()
        done(outcome, run_s)

    def _advance(self, event: ReplicaEvent) -> None:
        self.state = next_state(self.state, event)


def _rows(inputs: Batch) -> int:
    """At least one, as of a graph without a batch axis."""
    first = next(iter(inputs.values()), None)
    return max(1, len(first)) if first is not None and first.ndim else 1

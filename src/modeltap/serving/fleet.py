"""The replicas of one version: all started and warm before the version answers, watched, and started again when one dies."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from modeltap.bundle.files import open_bundle
from modeltap.domain.replica import ReplicaState, Restart, plan_restart
from modeltap.engines.process import RUN_S, ProcessReplica
from modeltap.engines.select import open_warm_engine
from modeltap.errors import ModeltapError, ReplicaLost, Unavailable
from modeltap.serving.lane import Lane
from modeltap.serving.replica import LocalReplica

STARTS_AT_ONCE = max(2, os.cpu_count() or 1)
DEADLINES_PER_RUN = 3
"""A run that takes so many times the longest deadline of its callers, and RUN_S at least, is one that hangs."""
PATIENCE_S = 5.0
"""So long requests wait for an engine when none is left."""
DRAIN_S = 30.0

_log = logging.getLogger(__name__)


class Fleet:
    """Adds its replicas to the lane and takes the dead from it. One replica runs in this process, unless it is isolated."""

    def __init__(self, name: str, files: Mapping[str, Path], lane: Lane, *, replicas: int = 1, isolate: bool = False) -> None:
        self.name = name
        self.lane = lane
        self.has_processes = isolate or replicas > 1
        self._files = files
        self._size = replicas
        self._run_timeout_s = RUN_S
        self._replicas: dict[int, LocalReplica | ProcessReplica] = {}
        self._added: set[LocalReplica | ProcessReplica] = set()
        """Those that take batches, or died while they did."""
        self._restarts: dict[int, Restart] = {}
        self.num_restarts = 0
        """How often a dead replica was started again."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Semaphore(STARTS_AT_ONCE)
        self._is_closing = False

    async def start(self) -> None:
        """Every replica is warm and in the lane. Raises GoldenMismatch or Broken; then none of them is left."""
        opening = [asyncio.create_task(self._open(number)) for number in range(1, self._size + 1)]
        is_whole = False
        try:
            done, _ = await asyncio.wait(opening, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            is_whole = True
        finally:
            if not is_whole:
                for task in opening:
                    task.cancel()
                await asyncio.gather(*opening, return_exceptions=True)
                await self.close()
        for number, replica in list(self._replicas.items()):
            if not self._add(replica):
                self._start_again(number, replica)

    def states(self) -> dict[str, ReplicaState]:
        """The state of each replica by its name."""
        return {replica.name: replica.state for _, replica in sorted(self._replicas.items())}

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the engine processes that live."""
        return tuple(r.pid for r in self._replicas.values() if isinstance(r, ProcessReplica) and r.state == "ready")

    @property
    def memory_bytes(self) -> int:
        """What the engine processes hold now; 0 where the engine is in this one."""
        return sum(r.memory_bytes for r in self._replicas.values() if isinstance(r, ProcessReplica))

    def allow_deadline(self, deadline_s: float) -> None:
        """No run is taken for one that hangs before the longest of its callers' deadlines."""
        self._run_timeout_s = max(RUN_S, DEADLINES_PER_RUN * deadline_s)
        for replica in self._replicas.values():
            if isinstance(replica, ProcessReplica):
                replica.run_timeout_s = self._run_timeout_s

    async def close(self, *, drain_s: float = DRAIN_S) -> None:
        """What waits is answered as far as there is time for it; then no engine of it is left."""
        self._is_closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        is_quiet = not self.lane.replicas or await self.lane.drain(drain_s)
        replicas = list(self._replicas.values())
        for replica in replicas:
            self.lane.remove(replica)
        self.lane.abandon(Unavailable(f"{self.name} is being unloaded; try again"))
        await asyncio.gather(*(self._let_go(replica, is_quiet=is_quiet) for replica in replicas))

    async def _let_go(self, replica: LocalReplica | ProcessReplica, *, is_quiet: bool) -> None:
        if not is_quiet and isinstance(replica, ProcessReplica):
            replica.kill()
        elif not is_quiet:
            _log.error("a batch of %s does not end; its thread is left behind", replica.name)
            return
        await replica.close()

    async def _open(self, number: int) -> None:
        name = f"{self.name}#{number}"
        async with self._starting:
            if not self.has_processes:
                engine = await asyncio.to_thread(lambda: open_warm_engine(open_bundle(self._files)))
                self._replicas[number] = LocalReplica(name, engine)
                return
            self._replicas[number] = await ProcessReplica.start(
                name, self._files, run_timeout_s=self._run_timeout_s, on_end=lambda dead: self._ended(number, dead)
            )

    def _add(self, replica: LocalReplica | ProcessReplica) -> bool:
        """Whether it takes batches from now on; it may have died since it was ready."""
        if replica.state != "ready":
            return False
        self._added.add(replica)
        self.lane.add(replica)
        return True

    def _ended(self, number: int, dead: ProcessReplica) -> None:
        """A ready replica died."""
        if dead in self._added:
            self._added.remove(dead)
            self.lane.remove(dead)
            self._start_again(number, dead)

    def _start_again(self, number: int, dead: LocalReplica | ProcessReplica) -> None:
        if not self._is_closing:
            task = asyncio.create_task(self._replace(number, dead))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _replace(self, number: int, dead: LocalReplica | ProcessReplica) -> None:
        """Another one in its place, however often that must be tried."""
        lived_s = time.monotonic() - dead.ready_at_s if isinstance(dead, ProcessReplica) and dead.ready_at_s else 0.0
        giving_up = asyncio.get_running_loop().call_later(PATIENCE_S, self._refuse, "is being started again", 1.0)
        try:
            await dead.close()
            while True:
                restart = self._restarts[number] = plan_restart(self._restarts.get(number, Restart()), lived_s)
                self.num_restarts += 1
                _log.warning("%s#%d is started again in %g s", self.name, number, restart.pause_s)
                await asyncio.sleep(restart.pause_s)
                try:
                    await self._open(number)
                except ModeltapError as problem:
                    lived_s = 0.0
                    _log.error("%s#%d could not be started again: %s", self.name, number, problem.message)
                    self._refuse(f"could not be started again ({problem.message})", restart.pause_s)
                    continue
                replica = self._replicas[number]
                if self._add(replica):
                    return
                lived_s = 0.0
                await replica.close()
        finally:
            giving_up.cancel()

    def _refuse(self, what: str, retry_after_s: float) -> None:
        """Nobody waits for an engine that does not come."""
        if not self.lane.replicas:
            self.lane.abandon(ReplicaLost(f"the engine of {self.name} {what}; try again later", retry_after_s=retry_after_s))

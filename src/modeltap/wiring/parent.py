"""The parent of several workers: it serves nothing itself. It keeps what the home has once, owns every limit, starts the
workers on one port, hands them each change, and takes up what a dead one left."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import cast

import msgspec

from modeltap.domain.quota_lease import FromWorker
from modeltap.domain.replica import Restart, plan_restart
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.errors import Broken, ModeltapError, Unavailable
from modeltap.serving.limits import limits_of
from modeltap.settings import Resolved
from modeltap.telemetry.scrape import Scrape
from modeltap.wiring.keeper import Keeper
from modeltap.wiring.leasing import Lessor, Outgoing
from modeltap.wiring.link import (
    Begin,
    Changed,
    Done,
    Leases,
    Link,
    Message,
    Metrics,
    Publish,
    Ready,
    Serving,
    Stop,
    WakeJobs,
)
from modeltap.wiring.watching import Watching

_log = logging.getLogger(__name__)
WORKER_COMMAND = (sys.executable, "-P", "-m", "modeltap.wiring.worker")
STOP_S = 15.0
"""From asking a worker to end to killing it; longer than it drains."""
START_S = 60.0
LEASE_TICK_S = 0.1


class _Worker:
    """One worker process and the link to it. `writer` names its usage segments once it is ready: then every change waits until
    the worker has it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.link: Link | None = None
        self.writer = ""
        self.serving = asyncio.Event()
        self.gone = asyncio.Event()


class Parent:
    def __init__(
        self,
        resolved: Resolved,
        keeper: Keeper,
        lessor: Lessor,
        watching: Watching,
        *,
        port: int,
        grpc_port: int,
        offset_s: float,
        started_at: str,
    ) -> None:
        self._resolved = resolved
        self._keeper = keeper
        self._lessor = lessor
        self._port = port
        self._grpc_port = grpc_port
        self._offset_s = offset_s
        self._started_at = started_at
        self._workers: dict[int, _Worker] = {}
        self._minders: list[asyncio.Task[None]] = []
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False
        self._publishing = asyncio.Lock()
        self._snapshot = DeploymentSnapshot()
        self._scrape = Scrape()
        self._watching = watching

    async def start(self) -> None:
        """Every worker serves. Raises Broken if one does not come up."""
        self._snapshot = self._keeper.snapshot()
        limits = limits_of(self._snapshot)
        self._keeper.note_limits(limits, self._wall())
        self._keeper.usage.restore_limits(self._lessor.book, limits)
        self._lessor.publish(limits, {})
        self._ticking = asyncio.create_task(self._tick())
        numbers = range(self._resolved.settings.workers)
        self._minders = [asyncio.create_task(self._mind(number)) for number in numbers]
        try:
            async with asyncio.timeout(START_S):
                while len(self._workers) < len(numbers) or not all(w.serving.is_set() for w in self._workers.values()):
                    await asyncio.sleep(0.02)
                    for minder in self._minders:
                        if minder.done():
                            minder.result()
        except TimeoutError:
            raise Broken("the workers did not start to serve; the server's log has the reason") from None

    async def stop(self) -> None:
        """Workers answer what they began, then end."""
        self._stopping = True
        if self._ticking is not None:
            self._ticking.cancel()
        for worker in self._workers.values():
            if worker.link is not None:
                worker.link.tell(Stop())
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*self._minders, return_exceptions=True)
        for worker in self._workers.values():
            if worker.process is not None and worker.process.poll() is None:
                worker.process.kill()
        await asyncio.gather(*self._minders, return_exceptions=True)

    async def publish(self) -> None:
        """Every worker serves what the database has now."""
        async with self._publishing:
            await self._read()
            snapshot = self._snapshot
            ready = [worker.link for worker in self._workers.values() if worker.link is not None and worker.writer]
            asked = [asyncio.create_task(link.ask(lambda number: Publish(number, snapshot))) for link in ready]
            await asyncio.sleep(0)  # they are sent before the next snapshot is
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Unavailable):
                raise outcome

    async def _read(self) -> None:
        """The snapshot is what the database has now, and its limits hold."""
        self._snapshot = await asyncio.to_thread(self._keeper.snapshot)
        limits = limits_of(self._snapshot)
        now_s = self._wall()
        await asyncio.to_thread(self._keeper.note_limits, limits, now_s)
        spent = await asyncio.to_thread(self._keeper.spent, self._lessor.book.uncounted(limits), now_s)
        self._tell(self._lessor.publish(limits, spent))

    def _wall(self) -> float:
        return time.monotonic() + self._offset_s

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(LEASE_TICK_S)
            self._tell(self._lessor.tick())

    async def _mind(self, number: int) -> None:
        """Keeps worker `number` running until the server is to end."""
        restart = Restart()
        while not self._stopping:
            worker = self._workers[number] = _Worker(number)
            began_s = time.monotonic()
            await self._launch(worker)
            await worker.gone.wait()
            await self._bury(worker)
            if self._stopping:
                return
            restart = plan_restart(restart, time.monotonic() - began_s)
            _log.warning("worker %d ended; it is started again in %g s", number, restart.pause_s)
            await asyncio.sleep(restart.pause_s)

    async def _launch(self, worker: _Worker) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            worker.process = subprocess.Popen(  # noqa: S603  the command is ours
                [*WORKER_COMMAND, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self._lessor.join(worker.number)
        worker.link = Link(lambda message: self._heard(worker, message), worker.gone.set)
        await worker.link.open(ours)
        worker.link.tell(
            Begin(
                settings=msgspec.to_builtins(self._resolved.settings, enc_hook=str),
                sources=dict(self._resolved.sources),
                number=worker.number,
                port=self._port,
                grpc_port=self._grpc_port,
                wall_offset_s=self._offset_s,
                started_at=self._started_at,
                snapshot=self._snapshot,
            )
        )

    async def _bury(self, worker: _Worker) -> None:
        assert worker.process is not None
        if worker.link is not None:
            await worker.link.close()
        if worker.process.poll() is None:
            worker.process.kill()
        await asyncio.to_thread(worker.process.wait)
        self._scrape.lost(f"worker-{worker.number}")
        name, outgoing = self._lessor.lost(worker.number)
        self._tell(outgoing)
        if worker.writer:
            try:
                spent = await asyncio.to_thread(self._keeper.usage.close_writer, worker.writer)
            except ModeltapError as problem:  # the next start takes it up
                _log.warning("the usage of worker %d is not closed: %s", worker.number, problem.message)
            else:
                self._lessor.settle_lost(name, spent)

    def _heard(self, worker: _Worker, message: Message) -> None:
        link = worker.link
        assert link is not None
        match message:
            case Ready(id=number, writer=writer):
                worker.writer = writer
                link.tell(Publish(0, self._snapshot))
                link.tell(Done(number))
            case Serving():
                worker.serving.set()
            case Leases(messages):
                self._tell(self._lessor.heard(worker.number, cast("list[FromWorker]", messages)))
            case Changed(id=number):
                link.answer_with(number, self._published())
            case WakeJobs():
                self._keeper.wake_jobs()
            case Metrics(id=number):
                link.answer_with(number, self._numbers())

    def _tell(self, outgoing: Outgoing) -> None:
        for number, messages in outgoing.items():
            worker = self._workers.get(number)
            if worker is not None and worker.link is not None:
                worker.link.tell(Leases(list(messages)))

    async def _published(self) -> None:
        await self.publish()

    async def _numbers(self) -> bytes:
        """The page of every worker and of this process."""
        links = [worker.link for worker in self._workers.values() if worker.link is not None and worker.serving.is_set()]
        answers = await asyncio.gather(*(link.ask(Metrics) for link in links), return_exceptions=True)
        dumps = [answer for answer in answers if isinstance(answer, bytes)]
        return await asyncio.to_thread(lambda: self._scrape.render([self._watching.metrics.dump(), *dumps]))

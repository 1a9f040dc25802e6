"""`python -m modeltap.wiring.worker FD`: one of several processes that serve the port; FD is its link to the parent."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

import msgspec

from modeltap.control.usage import Usage
from modeltap.domain.quota import QuotaBook
from modeltap.domain.struct_types import settle_types
from modeltap.errors import Unavailable
from modeltap.serving.limits import LeasedLimits, limits_of
from modeltap.settings import Resolved, Settings
from modeltap.storage.database import Database
from modeltap.storage.opening import open_database
from modeltap.storage.segments import USAGE_FOLDER
from modeltap.telemetry.logs import open_logs
from modeltap.wiring.control_side import Hub
from modeltap.wiring.http import new_loop
from modeltap.wiring.link import (
    Begin,
    Changed,
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
from modeltap.wiring.listening import bind
from modeltap.wiring.metering import open_metering
from modeltap.wiring.site import Site
from modeltap.wiring.watching import Watching

LEASE_TICK_S = 0.25


class Worker:
    def __init__(self) -> None:
        self._link = Link(self._heard, self._lost)
        self._begun: asyncio.Future[Begin] = asyncio.get_running_loop().create_future()
        self._serving: asyncio.Task[Any] | None = None
        self._site: Site | None = None
        self._limits = LeasedLimits(lambda messages: self._link.tell(Leases(list(messages))))
        self._offset_s = 0.0

    async def run(self, end: socket.socket) -> None:
        """Until the parent says so, or is gone."""
        self._serving = asyncio.current_task()
        await self._link.open(end)
        begin = await self._begun
        self._offset_s = begin.wall_offset_s
        resolved = Resolved(
            settings=msgspec.convert(begin.settings, Settings, dec_hook=lambda kind, value: kind(value), strict=False),
            sources=cast("dict[str, Any]", begin.sources),
        )
        settings = resolved.settings
        open_logs(settings.log_level)
        database = open_database(settings.home, settings.database_url)
        try:
            await self._serve(begin, resolved, database)
        finally:
            database.close()
            await self._link.close()

    async def _serve(self, begin: Begin, resolved: Resolved, database: Database) -> None:
        settings = resolved.settings
        metering = open_metering(settings, QuotaBook(), self._wall)
        watching = Watching(f"worker-{begin.number}", self._wall)
        self._watching = watching
        hub = Hub(
            changed=lambda: self._from_thread(self._ask_changed()),
            wake_jobs=self._wake_jobs,
        )
        self._loop = asyncio.get_running_loop()
        site = Site(
            resolved,
            database,
            hub,
            self._limits,
            metering,
            Usage(database, settings.home / USAGE_FOLDER),
            watching=watching,
            metrics=self._ask_numbers,
            started_at=begin.started_at,
            wall=self._wall,
        )
        self._site = site
        self._limits.publish(limits_of(begin.snapshot))
        loading = asyncio.create_task(site.publish(begin.snapshot))
        ticking = asyncio.create_task(self._tick())
        try:
            await self._link.ask(lambda number: Ready(number, metering.writer))
        except Unavailable:  # the parent is gone
            site.end()
        await site.start_grpc(settings.host, begin.grpc_port, shares_port=True)
        with bind(settings, port=begin.port, shared=True) as listener:
            await site.serve(listener, lambda: self._link.tell(Serving()))
        ticking.cancel()
        await asyncio.wait([loading])

    def _heard(self, message: Message) -> None:
        site = self._site
        match message:
            case Begin():
                self._begun.set_result(message)
            case Publish() if site is not None:
                self._publish(site, message)
            case Leases(messages):
                self._limits.heard(cast("Any", messages), self._wall())
            case Metrics(id=number) if site is not None:
                self._link.answer_with(number, self._numbers())
            case Stop() if site is not None:
                site.end()

    def _publish(self, site: Site, message: Publish) -> None:
        """Keys and limits hold at once; the parent is answered when the deployments are loaded."""
        self._limits.publish(limits_of(message.snapshot))
        site.data.guard.publish(message.snapshot)
        self._link.answer_with(message.id, site.publish(message.snapshot))

    def _lost(self) -> None:
        """The parent is gone: nobody counts limits any more, so this process ends too."""
        self._limits.owner_lost()
        if self._site is not None:
            self._site.end()
        elif self._serving is not None:
            self._serving.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(LEASE_TICK_S)
            self._limits.tick(self._wall())

    def _wake_jobs(self) -> None:
        self._loop.call_soon_threadsafe(self._link.tell, WakeJobs())

    async def _numbers(self) -> bytes:
        return await asyncio.to_thread(self._watching.metrics.dump)

    async def _ask_numbers(self) -> bytes:
        return await self._link.ask(Metrics)

    async def _ask_changed(self) -> None:
        await self._link.ask(Changed)

    def _from_thread(self, work: Coroutine[Any, Any, None]) -> None:
        if threading.current_thread() is threading.main_thread():
            work.close()
            raise Unavailable("the event loop cannot wait for itself")
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _wall(self) -> float:
        return time.monotonic() + self._offset_s


async def _main(end: socket.socket) -> None:
    with suppress(asyncio.CancelledError):  # the parent died before there was anything to end
        await Worker().run(end)


def main() -> None:
    settle_types()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to end
    with socket.socket(fileno=int(sys.argv[1])) as end, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_main(end))


if __name__ == "__main__":
    main()

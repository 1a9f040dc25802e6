"""A home's server from start to end: alone in one process, or as the parent of several workers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from modeltap.control.home_secrets import open_admin_key, open_pepper
from modeltap.domain.quota import QuotaBook
from modeltap.domain.struct_types import settle_types
from modeltap.errors import Unavailable
from modeltap.jobs.lock import HomeLock
from modeltap.serving.limits import OwnLimits, limits_of
from modeltap.settings import Resolved, Settings
from modeltap.storage.database import Database
from modeltap.storage.opening import open_database
from modeltap.storage.sole_server import sole_server
from modeltap.telemetry.logs import open_logs
from modeltap.telemetry.scrape import Scrape
from modeltap.wiring.announcing import announced, forget
from modeltap.wiring.control_side import Hub
from modeltap.wiring.http import new_loop
from modeltap.wiring.keeper import Keeper
from modeltap.wiring.leasing import Lessor
from modeltap.wiring.listening import bind, check_bind, client_host, grpc_port_of, url_of
from modeltap.wiring.metering import open_metering
from modeltap.wiring.parent import Parent
from modeltap.wiring.signals import told_to_end
from modeltap.wiring.site import Site
from modeltap.wiring.watching import Watching


def run_home(resolved: Resolved) -> None:
    """Serves the home until SIGTERM or SIGINT.

    Raises UnsafeBind, HomeInUse, DatabaseTooNew, StorageFailed, or Conflict if a port is taken.
    """
    settings = resolved.settings
    check_bind(settings)
    open_logs(settings.log_level)
    settle_types()
    with HomeLock.acquire(settings.home):
        forget(settings.home)
        database = open_database(settings.home, settings.database_url)
        try:
            with sole_server(database) as sole:
                keeper = Keeper(settings, database, check_alone=sole.check)
                keeper.recover()
                run = _run_alone if settings.workers == 1 else _run_workers
                with bind(settings, shared=settings.workers > 1) as listener, asyncio.Runner(loop_factory=new_loop) as runner:
                    runner.run(run(resolved, database, keeper, listener))
        finally:
            database.close()


class _Alone:
    """The only process: the site, with the keeper beside it."""

    def __init__(self, resolved: Resolved, database: Database, keeper: Keeper) -> None:
        self._loop = asyncio.get_running_loop()
        self._keeper = keeper
        self._publishing = asyncio.Lock()
        self._offset_s = time.time() - time.monotonic()
        self._limits = OwnLimits(QuotaBook())
        self.started_at = datetime.now(UTC)
        hub = Hub(
            changed=lambda: self._from_thread(self.publish()),
            wake_jobs=keeper.wake_jobs,
        )
        self._watching = Watching("server", self._wall)
        self._watching.of_home(database, keeper.lag_bytes)
        self._scrape = Scrape()
        self.site = Site(
            resolved,
            database,
            hub,
            self._limits,
            open_metering(resolved.settings, self._limits.book, self._wall),
            keeper.usage,
            watching=self._watching,
            metrics=self._numbers,
            started_at=self.started_at.isoformat(),
            wall=self._wall,
        )

    async def _numbers(self) -> bytes:
        return await asyncio.to_thread(lambda: self._scrape.render([self._watching.metrics.dump()]))

    def begin(self) -> asyncio.Task[None]:
        """Keys and limits hold, with what was used in the minute before; the deployments are being loaded."""
        snapshot = self._keeper.snapshot()
        limits = limits_of(snapshot)
        self._keeper.note_limits(limits, self._wall())
        self._keeper.usage.restore_limits(self._limits.book, limits)
        self.site.data.guard.publish(snapshot)
        return asyncio.create_task(self.site.publish(snapshot))

    async def publish(self) -> None:
        """Serves what the database has now. Keys and limits hold at once, and wait for no model that is being loaded."""
        async with self._publishing:
            snapshot = await asyncio.to_thread(self._keeper.snapshot)
            limits = limits_of(snapshot)
            now_s = self._wall()
            await asyncio.to_thread(self._keeper.note_limits, limits, now_s)
            spent = await asyncio.to_thread(self._keeper.spent, self._limits.book.uncounted(limits), now_s)
            self._limits.publish(limits, spent, self._wall())
            serving = asyncio.create_task(self.site.publish(snapshot))
        await serving

    def _wall(self) -> float:
        """UTC seconds that never go back, whatever happens to the system's clock."""
        return time.monotonic() + self._offset_s

    def _from_thread(self, work: Coroutine[Any, Any, None]) -> None:
        if threading.current_thread() is threading.main_thread():
            work.close()
            raise Unavailable("the event loop cannot wait for itself")
        asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _run_alone(resolved: Resolved, database: Database, keeper: Keeper, listener: socket.socket) -> None:
    settings = resolved.settings
    alone = _Alone(resolved, database, keeper)
    site = alone.site
    site.control.sweep_uploads()
    tasks = [alone.begin()]
    grpc_port = await site.start_grpc(settings.host, grpc_port_of(settings, listener.getsockname()[1]))
    keeper.start()
    if settings.idle_exit_s is not None:
        tasks.append(asyncio.create_task(site.idle(settings.idle_exit_s, keeper.has_jobs)))
    started = asyncio.Event()
    telling = asyncio.create_task(
        _announce(settings, listener, grpc_port, alone.started_at, site.admin_key if site.key_is_new else None, started)
    )
    try:
        await site.serve(listener, started.set)
    finally:
        telling.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.wait([telling, *tasks])
        await keeper.stop()


async def _announce(
    settings: Settings,
    listener: socket.socket,
    grpc_port: int,
    started_at: datetime,
    admin_key: str | None,
    started: asyncio.Event,
) -> None:
    """Tells where it serves, from when it does until this is cancelled."""
    await started.wait()
    grpc = f"{client_host(settings.host)}:{grpc_port}"
    with announced(settings, url=url_of(settings, listener), grpc=grpc, started_at=started_at, admin_key=admin_key):
        await asyncio.Event().wait()


async def _run_workers(resolved: Resolved, database: Database, keeper: Keeper, listener: socket.socket) -> None:
    settings = resolved.settings
    admin_key, key_is_new = open_admin_key(settings.home)
    open_pepper(settings.home)  # of workers that start at the same time each would make one of its own
    port = listener.getsockname()[1]
    with bind(settings, port=grpc_port_of(settings, port), shared=True) as grpc_listener:
        grpc_port = grpc_listener.getsockname()[1]
        started_at = datetime.now(UTC)
        offset_s = time.time() - time.monotonic()
        lessor = Lessor(QuotaBook(), lambda: time.monotonic() + offset_s)
        watching = Watching("parent", lambda: time.monotonic() + offset_s)
        watching.of_home(database, keeper.lag_bytes)
        parent = Parent(
            resolved,
            keeper,
            lessor,
            watching,
            port=port,
            grpc_port=grpc_port,
            offset_s=offset_s,
            started_at=started_at.isoformat(),
        )
        keeper.start()
        told = told_to_end()
        started = asyncio.Event()
        shown_key = admin_key if key_is_new else None
        telling = asyncio.create_task(_announce(settings, listener, grpc_port, started_at, shown_key, started))
        try:
            await parent.start()
            started.set()
            await told.wait()
        finally:
            telling.cancel()
            await asyncio.wait([telling])
            await parent.stop()
            await keeper.stop()

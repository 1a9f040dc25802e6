"""One serving process: control side and data side behind one HTTP port and one gRPC port.

The only process of a home is a site with the keeper beside it; each of several workers is a site with a link to the parent.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Awaitable, Callable

from modeltap.api.app import App
from modeltap.api.control import control_app
from modeltap.api.cors import with_cors
from modeltap.api.openai.control_routes import control_routes
from modeltap.control.home_secrets import open_admin_key, open_pepper
from modeltap.control.usage import Usage
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.serving.limits import LimitKeeper
from modeltap.settings import Resolved
from modeltap.storage.database import Database
from modeltap.storage.opening import open_artifacts
from modeltap.telemetry.process import watch_loop
from modeltap.wiring.control_side import ControlSide, Hub
from modeltap.wiring.data_side import DataSide
from modeltap.wiring.http import http_server, serve_until_told
from modeltap.wiring.metering import Metering
from modeltap.wiring.watching import Watching

IDLE_CHECK_S = 0.5
LOOK_EVERY_S = 0.05
GC_THRESHOLDS = (50_000, 20, 50)
GRPC_GRACE_S = 5.0


class Site:
    """Made on the event loop that serves. `hub` reaches the keeper; its calls may come from any thread."""

    def __init__(
        self,
        resolved: Resolved,
        database: Database,
        hub: Hub,
        limits: LimitKeeper,
        metering: Metering,
        usage: Usage,
        *,
        watching: Watching,
        metrics: Callable[[], Awaitable[bytes]],
        started_at: str,
        wall: Callable[[], float],
    ) -> None:
        settings = resolved.settings
        self._settings = settings
        self._metering = metering
        self.closing = threading.Event()
        artifacts = open_artifacts(settings.home, settings.artifacts_url, cache_bytes=settings.artifacts_cache_bytes)
        admin_key, self.key_is_new = open_admin_key(settings.home)
        self.admin_key = admin_key
        pepper = open_pepper(settings.home)
        self.data = DataSide(
            settings,
            artifacts,
            limits,
            metering,
            usage,
            watching.watch,
            admin_key=admin_key,
            pepper=pepper,
            wall=wall,
        )
        self.control = ControlSide(
            resolved, database, artifacts, self.data.router, pepper, hub, started_at=started_at, closing=self.closing
        )
        self.data.openai.add(control_routes(self.control.of))
        app = App(
            guard=self.data.guard,
            door=self.data.door,
            control=control_app(self.control.of),
            activity=self.data.activity,
            max_body_bytes=settings.max_body_bytes,
            metrics=metrics,
        )
        self._http = http_server(with_cors(app, settings.cors_origins), settings, self.data.hot, self.data.plane.flush)
        self._watching = watching
        connections = self._http.server_state.connections
        watching.of_data(self.data.router, self.data.activity, lambda: len(connections), lambda: metering.meter.num_accepted)

    async def publish(self, snapshot: DeploymentSnapshot) -> None:
        await self.data.publish(snapshot)

    async def start_grpc(self, host: str, port: int, *, shares_port: bool = False) -> int:
        """The port that gRPC listens on now, alone or with other workers. Raises Conflict if it is taken."""
        from modeltap.api.grpc import GrpcServer

        settings = self._settings
        self._grpc = GrpcServer(
            self.data.plane,
            self.data.open_call,
            self._watching.watch,
            self.data.activity,
            self.data.regions,
            max_body_bytes=settings.max_body_bytes,
            tls_cert=settings.tls_cert,
            tls_key=settings.tls_key,
        )
        return await self._grpc.start(host, port, shares_port=shares_port)

    async def serve(self, listener: socket.socket, started: Callable[[], None]) -> None:
        """Serves until told to end; then what was begun is answered, and nothing of this process is left."""
        # Requests make hardly any cycles; looking through all that was loaded a hundred times a second would find none.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        watching = asyncio.create_task(self._watch())
        looking = asyncio.create_task(watch_loop(self._watching.metrics))
        try:
            await serve_until_told(self._http, listener, started)
        finally:
            self.closing.set()
            watching.cancel()
            looking.cancel()
            await asyncio.wait([watching, looking])
            await self._grpc.stop(GRPC_GRACE_S)
            await self.data.router.close()
            self._metering.close()
            if self._watching.tracing is not None:
                await asyncio.to_thread(self._watching.tracing.close)

    def end(self) -> None:
        """Tells it to end."""
        self._http.should_exit = True

    async def _watch(self) -> None:
        """Streams come to their end as soon as the server is told to end; meanwhile what waits to be written is."""
        while not self._http.should_exit:
            await asyncio.sleep(LOOK_EVERY_S)
            self.data.plane.flush()
        self.closing.set()

    async def idle(self, limit_s: float, has_jobs: Callable[[], bool]) -> None:
        """Ends a background server that had neither job nor request for so long."""
        activity = self.data.activity
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            if activity.in_flight or await asyncio.to_thread(has_jobs):
                activity.last_used_s = time.monotonic()
            elif time.monotonic() - activity.last_used_s >= limit_s:
                self.end()
                return

"""The one place that names concrete classes: puts storage, jobs, serving and the API together, and runs the server."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from modeltap import __version__
from modeltap.api.app import Activity, App
from modeltap.api.control import control_app
from modeltap.api.guard import Guard
from modeltap.api.inference import InferencePlane
from modeltap.api.predict import PredictPlane
from modeltap.api.services import Services
from modeltap.control.datasets import Datasets
from modeltap.control.deployments import Deployments
from modeltap.control.keys import open_admin_key
from modeltap.control.models import Models
from modeltap.control.trainings import Trainings
from modeltap.control.upkeep import Upkeep
from modeltap.domain.deployment import Route
from modeltap.domain.job import JobKind
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.errors import Conflict, InvalidInput, UnsafeBind
from modeltap.jobs.lock import HomeLock
from modeltap.jobs.supervisor import Supervisor
from modeltap.serving.replica import Replica
from modeltap.serving.router import Router
from modeltap.settings import Resolved, Settings
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.jobs import JobRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database
from modeltap.telemetry.logs import open_logs

SERVER_FILE = "server.json"
HEAVY_KINDS: tuple[JobKind, ...] = ("train",)
LIGHT_KINDS: tuple[JobKind, ...] = ("import", "evaluate")
LIGHT_SLOTS = 2
"""Jobs of seconds have runners of their own, so that they never wait behind a training of hours."""
SHUTDOWN_S = 10
IDLE_CHECK_S = 0.5


class Server:
    """Everything one home needs while it is served. Made under the home's lock; `app` is the ASGI application."""

    def __init__(self, resolved: Resolved) -> None:
        settings = resolved.settings
        self.settings = settings
        self.started_at = datetime.now(UTC)
        self._resolved = resolved
        self._wakes: list[threading.Event] = []
        self._stop_jobs, self.closing = threading.Event(), threading.Event()
        self._database = open_database(settings.home)
        self._artifacts = ArtifactStore(settings.home / "artifacts")
        self._jobs = JobRepository(self._database)
        models = ModelRepository(self._database)
        datasets = DatasetRepository(self._database)
        self.admin_key, self.key_is_new = open_admin_key(settings.home)
        self.router = Router(self._open_replica)
        self._deployments = Deployments(
            DeploymentRepository(self._database), models, self._artifacts, self._publish_from_thread
        )
        self._datasets = Datasets(settings.home, datasets, self._artifacts, self._jobs, self._wake)
        self.activity = Activity()
        services = Services(
            datasets=self._datasets,
            trainings=Trainings(
                datasets,
                models,
                self._jobs,
                self._wake,
                threads=training_threads(settings),
                checkpoint_every_s=settings.checkpoint_every_s,
            ),
            models=Models(models, self._artifacts),
            deployments=self._deployments,
            upkeep=Upkeep(self._database, self._artifacts),
            jobs=self._jobs,
            router=self.router,
            home=settings.home,
            wake_jobs=self._wake,
            describe_server=self._describe,
            closing=self.closing,
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
        )
        control = control_app(services)
        control.router.lifespan_context = self._lifespan
        self.app = App(
            guard=Guard(self.admin_key),
            predict=PredictPlane(self.router, max_body_bytes=settings.max_body_bytes),
            inference=InferencePlane(self.router, max_body_bytes=settings.max_body_bytes),
            control=control,
            activity=self.activity,
            max_body_bytes=settings.max_body_bytes,
        )

    def has_work(self) -> bool:
        """Whether a job runs or waits, or a request is under way."""
        busy = any(self._jobs.list(state, limit=1) for state in ("running", "queued"))
        return busy or self.activity.in_flight > 0

    def close(self) -> None:
        self._database.close()

    def _wake(self) -> None:
        """Have the job table looked at now."""
        for wake in self._wakes:
            wake.set()

    @asynccontextmanager
    async def _lifespan(self, _app: Any) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self._datasets.sweep_uploads()
        loading = asyncio.create_task(self.router.publish(self._deployments.snapshot()))
        lanes = [(LIGHT_KINDS, LIGHT_SLOTS), (HEAVY_KINDS, self.settings.job_slots)]
        # Threads that spin while they wait made trees 38 times slower where other processes wanted the cores too.
        environment = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        supervisors = [
            Supervisor(self._jobs, self.settings.home, slots=slots, kinds=kinds, environment=environment)
            for kinds, slots in lanes
        ]
        wakes = [threading.Event() for _ in supervisors]
        self._wakes += wakes
        threads = [
            threading.Thread(target=supervisor.run, args=(self._stop_jobs, wake), name="supervisor", daemon=True)
            for supervisor, wake in zip(supervisors, wakes, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.closing.set()
            self._stop_jobs.set()
            self._wake()
            await loading
            await self.router.close()
            for thread in threads:
                await asyncio.to_thread(thread.join)

    def _open_replica(self, route: Route) -> Replica:
        return Replica(f"{route.model}@{route.version}", self._artifacts.paths(route.digest))

    def _publish_from_thread(self, snapshot: DeploymentSnapshot) -> None:
        asyncio.run_coroutine_threadsafe(self.router.publish(snapshot), self._loop).result()

    def _describe(self) -> dict[str, Any]:
        settings = msgspec.to_builtins(self.settings, enc_hook=str)
        return {
            "version": __version__,
            "pid": os.getpid(),
            "home": str(self.settings.home),
            "started_at": self.started_at.isoformat(),
            "background": self.settings.idle_exit_s is not None,
            "settings": {name: {"value": value, "source": self._resolved.sources[name]} for name, value in settings.items()},
        }


def run_server(resolved: Resolved) -> None:
    """Serves the home until SIGTERM or SIGINT; prints the address, and the admin key if it was made now.

    Raises UnsafeBind, HomeInUse, DatabaseTooNew, StorageFailed, or Conflict if the port is taken.
    """
    settings = resolved.settings
    check_bind(settings)
    open_logs(settings.log_level)
    with HomeLock.acquire(settings.home):
        server = Server(resolved)
        try:
            with _listen(settings) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(_serve(server, listener))
        finally:
            server.close()


def training_threads(settings: Settings) -> int:
    """Threads of a training process whose recipe names none: the cores, shared by the job slots. More threads than free
    cores make small steps many times slower, not faster."""
    return settings.threads or max(1, (os.cpu_count() or 1) // settings.job_slots)


def check_bind(settings: Settings) -> None:
    """Raises UnsafeBind if other machines could reach the server in the clear without anyone having said so."""
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise InvalidInput("TLS takes both --tls-cert and --tls-key")
    if _is_loopback(settings.host) or settings.tls_cert or settings.insecure_public_bind:
        return
    raise UnsafeBind(
        f"{settings.host} is open to other machines, and keys would cross the network in the clear;"
        " pass --tls-cert and --tls-key, or --insecure-public-bind if something in front does TLS, or keep to 127.0.0.1"
    )


async def _serve(server: Server, listener: socket.socket) -> None:
    import uvicorn

    from modeltap.api.connection import HttpConnection, HttpServer

    settings = server.settings
    config = uvicorn.Config(
        server.app,
        loop="none",
        http=HttpConnection,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    http = HttpServer(config)
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    record = settings.home / SERVER_FILE
    try:
        while not http.started and not serving.done():
            await asyncio.sleep(0.01)
        if http.started:
            _announce(server, _url(settings, listener), record)
            await _watch(server, http)
        await serving
    finally:
        with suppress(FileNotFoundError):
            record.unlink()


async def _watch(server: Server, http: Any) -> None:
    """Until the server is told to end: notes when a background server has been idle for long enough."""
    limit_s = server.settings.idle_exit_s
    checked_s = time.monotonic()
    while not http.should_exit:
        await asyncio.sleep(0.1)
        now_s = time.monotonic()
        if limit_s is None or now_s - checked_s < IDLE_CHECK_S:
            continue
        checked_s = now_s
        if await asyncio.to_thread(server.has_work):
            server.activity.last_used_s = now_s
        elif now_s - server.activity.last_used_s >= limit_s:
            http.should_exit = True
    server.closing.set()


def _announce(server: Server, url: str, record: Path) -> None:
    facts = {
        "url": url,
        "pid": os.getpid(),
        "started_at": server.started_at.isoformat(),
        "background": server.settings.idle_exit_s is not None,
    }
    staged = record.with_name(f".{record.name}.{os.getpid()}")
    staged.write_bytes(msgspec.json.encode(facts))
    staged.rename(record)
    lines = [f"modeltap {__version__} serves {url}", f"  home       {server.settings.home}", f"  API        {url}/docs"]
    if server.key_is_new:
        lines += [
            f"  admin key  {server.admin_key}",
            "             shown this once; kept in the home, for its owner alone",
        ]
    else:
        lines.append("  admin key  in admin.key in the home")
    lines.append("Ctrl-C ends the server; jobs go on and are taken up again at the next start.")
    print("\n".join(lines), flush=True)  # noqa: T201  what a person starts the server for


def _listen(settings: Settings) -> socket.socket:
    """A bound socket. Raises Conflict if the port is taken, InvalidInput for an address that is not ours."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {settings.port} on {settings.host} is taken; choose another with --port, or 0 for a free one"
            ) from None
        raise InvalidInput(f"cannot listen on {settings.host}:{settings.port}: {problem.strerror or problem}") from None
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls_cert else 'http'}://{shown}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()

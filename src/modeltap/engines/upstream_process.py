"""A foreign server that this one starts and watches: ready when it says so, started again when it dies, ended with us.

    watched = WatchedUpstream(upstream, folder, programs="llama-server")
    await watched.settled(20.0)             ready by then, or still starting, or why it does not start
    watched.client().stream(…)              raises Loading, UpstreamFailed while there is none

Of several processes of one home (workers), the one that holds the lock of the folder runs the program; the others find its
port and key in the folder, and one of them takes over where that process dies.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from modeltap.domain.replica import ReplicaState, Restart, plan_restart
from modeltap.domain.upstream import PORT_MARK, HostRule, Upstream, check_program
from modeltap.engines.confine import KEPT, KEPT_PREFIXES
from modeltap.engines.upstream import UpstreamClient
from modeltap.engines.upstream_child import GRACE_S, MISSING
from modeltap.errors import Broken, Loading, ModeltapError, UpstreamFailed

HOST = "127.0.0.1"
START_S = 900.0
"""Until it answers; large weights take minutes."""
LOOK_S = 0.25
HEALTH_EVERY_S = 10.0
SICK_AFTER = 3
"""So many looks in a row without a good answer: it hangs, and is started again."""
FOLLOW_S = 0.5
LOG, LOCK, RUNNING = "log", "lock", "running.json"
KEY_VARIABLES = ("LLAMA_API_KEY", "VLLM_API_KEY")
"""Where servers look for the key that they shall ask for; one that does not is open to this machine."""

_log = logging.getLogger(__name__)


class Running(msgspec.Struct, frozen=True):
    """Where the ready server is, for the other processes of the home."""

    port: int
    key: str
    pid: int
    model: str = ""
    """What it calls its first model."""


class WatchedUpstream:
    """Lives on one event loop; what it does begins when it is made there."""

    def __init__(self, name: str, upstream: Upstream, folder: Path, *, programs: str) -> None:
        """`folder` is kept for this very upstream; `programs` is the setting. Raises Refused, OSError."""
        check_program(upstream.command, programs)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name = name
        self.state: ReplicaState = "starting"
        self.num_restarts = 0
        self.pid: int | None = None
        self.problem: ModeltapError | None = None
        """Why the last start failed."""
        self._upstream = upstream
        self._folder = folder
        self._running: Running | None = None
        self._client: UpstreamClient | None = None
        self._decided = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._live())

    @property
    def memory_bytes(self) -> int:
        """Of the program and what it started; 0 where another process of the home runs it."""
        import psutil

        held = 0
        with suppress(psutil.Error):
            own = psutil.Process(self.pid) if self.pid is not None else None
            for process in [] if own is None else [own, *own.children(recursive=True)]:
                with suppress(psutil.Error):
                    held += int(process.memory_info().rss)
        return held

    async def settled(self, limit_s: float) -> None:
        """Comes back when it is ready, or is still starting after so long. Raises Broken if it could not be started."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._decided.wait(), limit_s)
        if self.problem is not None:
            raise self.problem

    def client(self) -> UpstreamClient:
        """Of the server that is ready. Raises Loading while it starts for the first time, UpstreamFailed after it died."""
        if self._client is not None:
            return self._client
        if self.state == "failed" or self.num_restarts:
            said = "" if self.problem is None else f" ({self.problem.message})"
            raise UpstreamFailed(f"the server of {self.name} is being started again{said}; try again")
        raise Loading(f"the server of {self.name} is being started; try again in a second")

    @property
    def model(self) -> str:
        """What the server calls the model."""
        return self._upstream.model or (self._running.model if self._running is not None else "")

    async def close(self) -> None:
        """Nothing that was started is left."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self.state = "stopped"

    async def _live(self) -> None:
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _is_ours(lock):
                await self._follow()
                await asyncio.sleep(FOLLOW_S)
            await self._drop()
            await self._lead()
        finally:
            await self._drop()
            os.close(lock)

    async def _follow(self) -> None:
        """Another process runs it: the client is of what that one says."""
        try:
            found = msgspec.json.decode((self._folder / RUNNING).read_bytes(), type=Running)
        except (OSError, msgspec.MsgspecError):
            found = None
        if found != self._running:
            await self._drop()
            if found is not None:
                self._take(found)

    async def _lead(self) -> None:
        """Starts it, again and again, with longer pauses where it dies young."""
        restart = Restart()
        while True:
            began_s = time.monotonic()
            try:
                await self._run()
            except ModeltapError as problem:
                self.problem, self.state = problem, "failed"
                lived_s = time.monotonic() - began_s if self._running is not None else 0.0
                restart = plan_restart(restart, lived_s)
                self.num_restarts += 1
                _log.warning("%s: %s; it is started again in %g s", self.name, problem.message, restart.pause_s)
            await self._drop()
            self._decided.set()
            await asyncio.sleep(restart.pause_s)
            self.state = "starting"

    async def _run(self) -> None:
        """One life of the program. Raises Broken, UpstreamFailed when it is over."""
        running = Running(_free_port(), secrets.token_urlsafe(24), pid=0)
        process = await self._launch(running)
        ended = asyncio.create_task(_outcome(process))
        self.pid = process.pid
        try:
            listed = await self._until_ready(running, ended)
            self._publish(msgspec.structs.replace(running, pid=process.pid, model=listed))
            await self._until_sick(ended)
        finally:
            self.pid = None
            (self._folder / RUNNING).unlink(missing_ok=True)
            assert process.stdin is not None
            process.stdin.close()
            await asyncio.shield(_gone(ended, process))

    async def _launch(self, running: Running) -> asyncio.subprocess.Process:
        command = [part.replace(PORT_MARK, str(running.port)) for part in self._upstream.command]
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "modeltap.engines.upstream_child", str(self._folder / LOG), *command),
                env=_environment(self._upstream.variables, running.key),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as problem:
            raise Broken(f"no process can be started: {problem.strerror}") from None

    async def _until_ready(self, running: Running, ended: asyncio.Task[str]) -> str:
        """The model that it lists first."""
        client = self._connect(running)
        try:
            async with asyncio.timeout(START_S):
                while (listed := await _answers(client)) is None:
                    await asyncio.wait([ended], timeout=LOOK_S)
                    if ended.done():
                        raise Broken(self._told(ended.result()))
                return listed
        except TimeoutError:
            raise Broken(f"the server of {self.name} does not answer {START_S:g} s after its start") from None
        finally:
            await client.close()

    async def _until_sick(self, ended: asyncio.Task[str]) -> None:
        misses = 0
        while misses < SICK_AFTER:
            await asyncio.wait([ended], timeout=HEALTH_EVERY_S)
            if ended.done():
                raise UpstreamFailed(self._told(ended.result()))
            assert self._client is not None
            misses = 0 if await self._client.is_healthy() else misses + 1
        raise UpstreamFailed(f"the server of {self.name} does not answer its health check any more")

    def _told(self, outcome: str) -> str:
        if outcome == MISSING:
            return f"the program '{self._upstream.command[0]}' of {self.name} cannot be started on the server"
        how = f"signal {outcome[1:]}" if outcome.startswith("-") else f"status {outcome or 'unknown'}"
        return f"the server of {self.name} ended ({how}); the home's upstreams/{self._folder.name}/{LOG} has the reason"

    def _publish(self, running: Running) -> None:
        staged = self._folder / f".{RUNNING}.{os.getpid()}"
        staged.unlink(missing_ok=True)
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(running))
        staged.rename(self._folder / RUNNING)
        self._take(running)

    def _take(self, running: Running) -> None:
        self._running, self._client = running, self._connect(running)
        self.state, self.problem = "ready", None
        self._decided.set()

    async def _drop(self) -> None:
        """Nobody is sent there any more; what runs there breaks off by itself."""
        client, self._client, self._running = self._client, None, None
        if client is not None:
            self.state = "starting"
            await client.close()

    def _connect(self, running: Running) -> UpstreamClient:
        rules = (HostRule(HOST, running.port),)
        url = f"http://{HOST}:{running.port}/v1"
        return UpstreamClient(url, rules=rules, key=lambda: running.key, max_streams=self._upstream.max_streams)


async def _answers(client: UpstreamClient) -> str | None:
    """The model that it lists first, '' where it lists none; None while it cannot answer."""
    try:
        listed = await client.models() if await client.is_healthy() else None
    except ModeltapError:
        return None
    return None if listed is None else str(next((one.get("id") for one in listed), None) or "")


async def _outcome(process: asyncio.subprocess.Process) -> str:
    """How the program ended, once it has."""
    assert process.stdout is not None
    told = await process.stdout.read(64)
    await process.wait()
    return told.decode("ascii", "replace")


async def _gone(ended: asyncio.Task[str], process: asyncio.subprocess.Process) -> None:
    done, _ = await asyncio.wait([ended], timeout=GRACE_S + 5.0)
    if not done:
        process.kill()
        await ended


def _environment(variables: tuple[str, ...], key: str) -> dict[str, str]:
    """What every program needs, what the deployment names, and the key that the server shall ask for."""
    kept = {n: value for n, value in os.environ.items() if n in KEPT or n.startswith(KEPT_PREFIXES) or n in variables}
    return kept | dict.fromkeys(KEY_VARIABLES, key)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ours(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

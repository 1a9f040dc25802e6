"""A client of the server that is named, of the one that runs on the home, or of one that is started there now."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec

from modeltap.client import Client
from modeltap.client.discovery import ServerFile, is_alive, read_server_file
from modeltap.client.errors import ConnectionFailed, error_from
from modeltap.errors import HomeInUse, ModeltapError, StorageFailed
from modeltap.settings import load_client_settings

LOG_FILE = "server.log"
START_LIMIT_S = 20.0
IDLE_EXIT_S = 60
POLL_S = 0.05
TAIL_LINES = 12
ERROR_MARK = '{\n  "error"'
"""How the JSON document of a failure begins."""


def connect(home: Path, *, url: str | None, key: str | None, note: Callable[[str], None], tenant: str | None = None) -> Client:
    """A client of `url`, else of the home's server, which is started in the background where none runs."""
    if load_client_settings(url, key).url is not None:
        return Client(url, key, home=home, tenant=tenant)
    if find_server(home) is None:
        note("starting a server in the background …")
        start_server(home)
    return Client(key=key, home=home, tenant=tenant)


def find_server(home: Path) -> ServerFile | None:
    """What the home's server wrote about itself, if it still lives and answers."""
    server = read_server_file(home)
    return server if server is not None and is_alive(server) else None


def start_server(home: Path) -> ServerFile:
    """The server, ready, that now runs on the home. Where two start at once, one of them wins the home and serves both.

    Raises ConnectionFailed with the end of its log if it is not ready in time.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(home / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        begin = os.fstat(handle).st_size
    except OSError as problem:
        raise StorageFailed(
            f"the home '{home}' cannot be used: {problem.strerror or problem}; choose another with --home"
        ) from None
    try:
        pid = _spawn(home, handle)
    finally:
        os.close(handle)
    return _wait_ready(home, pid, begin)


def _spawn(home: Path, log: int) -> int:
    """The process id of a server in a session of its own, which Ctrl-C here does not reach."""
    options = ["--home", str(home), "--port", "0", "--grpc-port", "0", "--idle-exit-s", str(IDLE_EXIT_S), "--json"]
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "modeltap", "up", *options],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
    )


def _wait_ready(home: Path, pid: int, begin: int) -> ServerFile:
    """`begin` is where the log of this start begins."""
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s:
        server = read_server_file(home)
        if server is not None and is_alive(server) and _is_ready(server):
            return server
        if _has_ended(pid):
            problem = _reason(home, begin)
            if not isinstance(problem, HomeInUse):  # else another one won, and will be ready soon
                raise problem
        time.sleep(POLL_S)
    raise ConnectionFailed(f"the server was not ready within {START_LIMIT_S:.0f} s:\n{_tail(home, begin)}")


def _is_ready(server: ServerFile) -> bool:
    try:
        return httpx.get(f"{server.url}/readyz", timeout=2.0, trust_env=False, verify=False).is_success  # noqa: S501
    except httpx.HTTPError:
        return False


def _has_ended(pid: int) -> bool:
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # it was seen to end before
        return True
    return ended == pid


def _reason(home: Path, begin: int) -> ModeltapError:
    """Why the server ended: the named error that it printed, or the end of its log."""
    log = _read_log(home, begin)
    at = log.rfind(ERROR_MARK)
    if at >= 0:
        try:
            return error_from(msgspec.json.decode(log[at:])["error"])
        except msgspec.DecodeError:
            pass  # something was written after it
    return ConnectionFailed(f"the server could not start:\n{_tail(home, begin)}")


def _tail(home: Path, begin: int) -> str:
    lines = _read_log(home, begin).splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (it wrote nothing)"


def _read_log(home: Path, begin: int) -> str:
    try:
        return (home / LOG_FILE).read_bytes()[begin:].decode("utf-8", "replace")
    except OSError:
        return ""

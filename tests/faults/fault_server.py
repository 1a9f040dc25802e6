"""A real server process on a home of its own: started, killed, stopped and asked over HTTP."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import psutil

from modeltap.storage.artifacts import ArtifactStore

T = TypeVar("T")
WAIT_S = 90.0
"""Longest wait for anything; a busy machine needs a small part of it."""
ENDED = ("succeeded", "failed", "cancelled")
SERVE = """
import sys
from modeltap.settings import load_settings
from modeltap.wiring import run_server
run_server(load_settings({"home": sys.argv[1], "port": 0}))
"""


def until(what: str, look: Callable[[], T | None], *, wait_s: float = WAIT_S, pause_s: float = 0.03) -> T:
    """The first thing that `look` gives that is neither None nor False; fails, saying what it waited for."""
    give_up_at = time.monotonic() + wait_s
    while (found := look()) is None or found is False:
        assert time.monotonic() < give_up_at, f"waited {wait_s:g} s in vain: {what}"
        time.sleep(pause_s)
    return found


def is_running(pid: int) -> bool:
    """Whether the process lives; one that nobody has waited for yet does not."""
    with suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def stopped(pid: int, home: Path) -> Iterator[None]:
    """The process group stands still inside, deaf to all but SIGKILL; not while it holds the lock of the database."""
    while True:
        os.killpg(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(home / "modeltap.db", timeout=0.1, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.killpg(pid, signal.SIGCONT)
                continue
        break
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGCONT)


def is_group(pid: int) -> bool:
    """Whether any process of the group lives."""
    return any(is_running(process.pid) for process in psutil.process_iter() if _group(process.pid) == pid)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


class FaultServer:
    """One home and, while it is started, the process that serves it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None
        self._client: httpx.Client | None = None

    def launch(self, before: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """The server process, started but perhaps not serving yet; it runs the code `before` first."""
        self.forget()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MODELTAP_")}
        self.home.parent.mkdir(parents=True, exist_ok=True)
        with self.home.with_name(f"{self.home.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", before + SERVE, str(self.home)],
                stdout=log,
                stderr=log,
                env={**clean, "MODELTAP_CHECKPOINT_EVERY_S": "0.05", **environment},
            )
        return self.process

    def start(self, before: str = "", **environment: str) -> FaultServer:
        """Serving, on a free port."""
        self.launch(before, **environment)
        return self.start_to_serve()

    def start_to_serve(self) -> FaultServer:
        """The same of a server that was launched."""
        process = self.process
        assert process is not None
        url = until("the server serves", lambda: self._url(process), pause_s=0.01)
        key = (self.home / "admin.key").read_text().strip()
        self._client = httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=WAIT_S)
        return self

    def kill(self) -> None:
        """Ends the server as a power cut would; its runners go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.forget()

    def kill_all(self) -> None:
        """The same with every worker of the server at once."""
        workers = self.worker_pids()
        self.kill()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until("the workers end", lambda: not any(map(is_running, workers)))

    def stop(self) -> int:
        """The exit status after a polite request."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(WAIT_S)
        self.forget()
        return status

    def wait_killed(self) -> None:
        """Waits until the server was killed by a signal that nobody here sent."""
        assert self.process is not None
        assert self.process.wait(WAIT_S) == -signal.SIGKILL, self.log()
        self.forget()

    def forget(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def close(self) -> None:
        """Ends whatever still runs on this home."""
        if self.process is not None and self.process.poll() is None:
            self.kill_all()
        self.forget()
        for pid in self.runner_pids():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        until("the runners end", lambda: not self.runner_pids())

    def runner_pids(self) -> list[int]:
        """The runner processes of this home that live."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if "modeltap.runner" in words and str(self.home) in words and is_running(process.pid):
                    found.append(process.pid)
        return found

    def worker_pids(self) -> list[int]:
        """The workers of the server that live; none where it serves alone."""
        assert self.process is not None
        found = []
        with suppress(psutil.Error):
            for process in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    if "modeltap.wiring.worker" in process.cmdline() and is_running(process.pid):
                        found.append(process.pid)
        return sorted(found)

    def log(self) -> str:
        return self.home.with_name(f"{self.home.name}.log").read_text(errors="replace")

    @property
    def client(self) -> httpx.Client:
        assert self._client is not None, "the server was not started"
        return self._client

    @property
    def address(self) -> tuple[str, int]:
        url = self.client.base_url
        assert url.port is not None
        return url.host, url.port

    @property
    def artifacts(self) -> ArtifactStore:
        return ArtifactStore(self.home / "artifacts")

    def ask(self, method: str, path: str, **what: Any) -> Any:
        """The JSON of a request that must succeed."""
        answer = self.client.request(method, path, **what)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}\n{self.log()}"
        return answer.json()

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/api/jobs/{job_id}")
        return found

    def wait_job(self, job_id: str, *states: str, wait_s: float = WAIT_S) -> dict[str, Any]:
        """The job once it is in one of these states; fails at once if it ended in another."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            wanted = states or ("succeeded",)
            assert job["state"] not in ENDED or job["state"] in wanted, (
                job["state"],
                job["error"],
                self.job_log(job_id),
            )
            return job if job["state"] in wanted else None

        return until(f"the job is {' or '.join(states) or 'succeeded'}", look, wait_s=wait_s)

    def wait_runner(self, job_id: str, *, not_pid: int | None = None) -> int:
        """The process id of the job's runner, once it has one (another one than `not_pid`)."""

        def look() -> int | None:
            job = self.job(job_id)
            pid = job["pid"]
            assert job["state"] not in ENDED, (job["state"], job["error"])
            return pid if pid is not None and pid != not_pid else None

        return until("the job has a runner", look)

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """What the job's runners have told so far."""
        path = self.home / "jobs" / job_id / "events.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [msgspec.json.decode(line) for line in lines if line.endswith(b"\n")]

    def checkpoint_stamp(self, job_id: str) -> int | None:
        """Changes whenever the job's training saves a checkpoint."""
        try:
            return (self.home / "jobs" / job_id / "checkpoint.safetensors").stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def wait_training(self, job_id: str) -> int:
        """The runner's process id, once it has trained for a while and saved a checkpoint."""
        until("a checkpoint is saved", lambda: self.checkpoint_stamp(job_id), pause_s=0.005)
        return self.wait_runner(job_id)

    def job_log(self, job_id: str) -> str:
        path = self.home / "jobs" / job_id / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _url(self, process: subprocess.Popen[bytes]) -> str | None:
        assert process.poll() is None, f"the server ended with {process.returncode}:\n{self.log()}"
        with suppress(OSError, msgspec.DecodeError):
            facts = msgspec.json.decode((self.home / "server.json").read_bytes())
            if facts["pid"] == process.pid:
                return str(facts["url"])
        return None


@contextmanager
def serving(home: Path, before: str = "", **environment: str) -> Iterator[FaultServer]:
    """A started server; nothing of it runs on afterwards."""
    server = FaultServer(home)
    try:
        yield server.start(before, **environment)
    finally:
        server.close()

"""What happens in the process of one trial: it is forked from one that has the libraries loaded, learns, and tells the runner.

Both talk over one pipe, a JSON object a message: the trial tells its metric and hears `on` or `prune`. When the pipe ends the
runner is gone, and the trial ends at its next checkpoint; whoever takes the search up starts it again there.
"""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from modeltap.domain.progress import Progress
from modeltap.errors import StorageFailed
from modeltap.faults import spare
from modeltap.telemetry.logs import open_logs
from modeltap.training.stopped import Stopped
from modeltap.tuning.trial import run_trial
from modeltap.tuning.trial_files import LOCK, TrialFolder

TELL_EVERY_S = 0.5
STOPPED = 4
"""Exit status of a trial that was asked to end, and did so at a checkpoint."""


class Pruned(Exception):
    """The runner wants the trial to end here."""


class Line:
    """The pipe to the runner."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._heard: queue.Queue[bytes | None] = queue.Queue()
        self._gone = threading.Event()
        self._told_s = 0.0
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._gone.set())
        threading.Thread(target=self._listen, name="runner", daemon=True).start()

    @property
    def is_gone(self) -> bool:
        """True once the runner is, or asked this process to end."""
        return self._gone.is_set()

    def tell(self, epoch: int, value: float) -> None:
        """Raises Pruned where the runner says so, Stopped where nobody answers."""
        self._send({"epoch": epoch, "value": value})
        answer = self._heard.get()
        if answer is None:
            raise Stopped
        if answer == b"prune":
            raise Pruned

    def progress(self, told: Progress) -> None:
        if time.monotonic() - self._told_s >= TELL_EVERY_S:
            self._told_s = time.monotonic()
            self._send({"fraction": told.fraction})

    def saved(self) -> None:
        self._send({"saved": True})

    def broken(self, message: str) -> None:
        self._send({"broken": message})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._pipe.send_bytes(msgspec.json.encode(message))
        except OSError:
            self._gone.set()

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self._gone.set()
            self._heard.put(None)


def work(path: str, pipe: Connection, is_again: bool) -> None:
    """The trial in that folder, whose lock tells this process's id. `is_again`: after its process was killed; a crash that a
    test asked for happens once."""
    if is_again:
        spare()
    line = Line(pipe)
    open_logs("info")
    folder = TrialFolder(Path(path))
    with (folder.path / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the same trial that lost its runner is about to end
        lock.truncate(0)
        lock.write(b"%d" % os.getpid())
        lock.flush()
        if folder.read_result() is not None:
            return
        try:
            run_trial(folder, tell=line.tell, progress=line.progress, stop_requested=lambda: line.is_gone, saved=line.saved)
        except Pruned:
            return
        except Stopped:
            sys.exit(STOPPED)
        except StorageFailed as problem:
            line.broken(problem.message)

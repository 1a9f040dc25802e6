"""Keeps one foreign server: `python -P -m modeltap.engines.upstream_child LOG PROGRAM [ARGUMENT …]`, started by
`engines/upstream_process.py`.

It runs the program in a session of its own, writes what that says to the log, whose size it keeps bounded, and ends it with
everything it started as soon as its own standard input is closed: also when whoever started it was killed. Its one line of
output is how the program ended: a status, negative for a signal, or `missing` where it could not be started.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from modeltap.engines.confine import be_the_likely_victim, leave_no_core

MAX_LOG_BYTES = 4 << 20
"""Of one file; the one before is kept beside it."""
GRACE_S = 10.0
"""From being asked to end to being ended."""
LOOK_S = 0.2
CHUNK_BYTES = 64 << 10
MISSING = "missing"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class Log:
    """A file that starts anew when it is full; the full one lies beside it as `.1`."""

    def __init__(self, path: Path, *, limit_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._file = path.open("ab", buffering=0)
        path.chmod(0o600)

    def write(self, data: bytes) -> None:
        """What the disk does not take is lost; the program goes on."""
        with suppress(OSError):
            if self._file.tell() + len(data) > self._limit_bytes:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._file.close()
                self._file = self._path.open("ab", buffering=0)
                self._path.chmod(0o600)
            self._file.write(data)

    def close(self) -> None:
        self._file.close()


def main() -> None:
    log, command = Log(Path(sys.argv[1])), sys.argv[2:]
    leave_no_core()
    be_the_likely_victim()
    for number in (signal.SIGINT, signal.SIGTERM):  # a handler, and no SIG_IGN, which the program would inherit
        signal.signal(number, lambda *_: None)
    _call_prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        process = subprocess.Popen(  # noqa: S603  what the deployment names, and the setting allows
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _call_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # this process has one thread
        )
    except OSError as problem:
        log.write(f"{command[0]}: {problem.strerror}\n".encode())
        _tell(MISSING)
        return
    try:
        _keep(process, log)
    finally:
        _end_all()
        _tell(str(process.wait()))


def _keep(process: subprocess.Popen[bytes], log: Log) -> None:
    """Until the program has ended."""
    assert process.stdout is not None
    asked_s: float | None = None
    with selectors.DefaultSelector() as waiting:
        waiting.register(sys.stdin.fileno(), selectors.EVENT_READ)
        waiting.register(process.stdout.fileno(), selectors.EVENT_READ)
        while process.poll() is None:
            for key, _ in waiting.select(LOOK_S):
                data = os.read(key.fd, CHUNK_BYTES)
                if key.fd != sys.stdin.fileno():
                    log.write(data)
                if data:
                    continue
                waiting.unregister(key.fd)
                if key.fd == sys.stdin.fileno():
                    asked_s = time.monotonic()
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGTERM)
            if asked_s is not None and time.monotonic() - asked_s > GRACE_S:
                process.kill()
    os.set_blocking(process.stdout.fileno(), False)
    with suppress(BlockingIOError):
        while data := os.read(process.stdout.fileno(), CHUNK_BYTES):
            log.write(data)


def _end_all() -> None:
    """Everything that the program started and left behind; what lost its parent has become a child of this process."""
    for left in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            left.kill()


def _tell(outcome: str) -> None:
    with suppress(OSError):  # whoever started it is gone
        os.write(sys.stdout.fileno(), outcome.encode())


def _call_prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()

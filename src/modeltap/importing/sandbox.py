"""Runs what reads a model from elsewhere in a process that is confined, ends with all that it started, and can tell no more
than its verdict; and finds out how far the system confines it."""

from __future__ import annotations

import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from modeltap.engines.confine import bare_environment
from modeltap.errors import NotConfined
from modeltap.importing.sandbox_landlock import landlock_version
from modeltap.importing.sandbox_walls import LEVELS, Confinement, Held, Level, Wall

MAX_ANSWER_BYTES = 4 << 20
KEPT_OF_COMPLAINTS = 4000
"""Bytes of what it wrote to standard error, for the log alone."""
PIECE_BYTES = 1 << 16
LOOK_S = 0.1
"""Between two looks at how much memory it holds."""
LAST_WORDS_S = 5.0
"""For the rest of what it wrote, once it has ended."""
PROBE_TIMEOUT_S = 30.0
PROBE_MEMORY_BYTES = 2 << 30

_log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """How the process ended. `answer` is what it wrote to standard output, no more than MAX_ANSWER_BYTES."""

    status: int | None
    """None where it was ended because its time was over."""
    answer: bytes
    is_too_long: bool
    is_too_large: bool = False
    """It was ended because it held more memory than it may."""


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """A fresh folder beside this one, for what libraries keep while they work; nothing of it is left afterwards."""
    made = Path(tempfile.mkdtemp(prefix=".scratch-", dir=folder.parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def run_confined(
    module: str | None,
    confinement: Confinement,
    asked: bytes,
    *,
    scratch: Path,
    timeout_s: float,
    resident_bytes: int | None = None,
) -> Ended:
    """What a confined process that runs the module's `main` answered to `asked`. Nothing that it started is left.

    resident_bytes: it is ended once it holds more memory than that, where the system tells; frameworks reserve far more
    addresses than they use, so that a limit of those alone says little.
    """
    command = [sys.executable, "-P", "-m", "modeltap.importing.sandbox_child", *([module] if module else [])]
    process = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(scratch),
        cwd=scratch,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    with process.stdin, process.stdout, process.stderr:
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(msgspec.json.encode(confinement) + b"\n" + asked)
                process.stdin.close()
            return _listened(
                process, process.stdout, process.stderr, end_s=time.monotonic() + timeout_s, most_bytes=resident_bytes
            )
        finally:
            _end_group(process.pid)
            process.wait()


def measure_sandbox(*, without: Sequence[Wall] = ()) -> Held:
    """What holds for a process that is confined here and now, as such a process found out itself: it tried to start another,
    to reach a listener of this one, and to write beside its folder."""
    with tempfile.TemporaryDirectory(prefix="modeltap-") as outside, socket.create_server(("127.0.0.1", 0)) as listener:
        own = Path(outside) / "own"
        own.mkdir()
        confinement = Confinement(
            folders=[str(own)],
            outside=outside,
            memory_bytes=PROBE_MEMORY_BYTES,
            processor_s=int(PROBE_TIMEOUT_S),
            parent_pid=os.getpid(),
            port=listener.getsockname()[1],
            without=list(without),
        )
        ended = run_confined(None, confinement, b"", scratch=own, timeout_s=PROBE_TIMEOUT_S)
    try:
        return msgspec.json.decode(ended.answer, type=Held)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Held()


def require_level(least: Level, *, without: Sequence[Wall] = ()) -> None:
    """Nothing, where models are read behind walls as high as this. Raises NotConfined, with the way to get there."""
    if least == LEVELS[0]:
        return
    held = measure_sandbox(without=without)
    if LEVELS.index(held.level) < LEVELS.index(least):
        raise NotConfined(
            f"models are imported here only at the level '{least}' of the import sandbox (MODELTAP_IMPORT_SANDBOX), and this"
            f" system gives '{held.level}': {held.told()}; {how_to_get_more(held)}"
        )


def how_to_get_more(held: Held) -> str:
    """What an operator changes for the next level; empty where there is none."""
    if held.no_network and held.no_writes:
        return "" if held.no_processes else _SECCOMP_TOO
    if sys.platform != "linux":
        return "run the server on Linux for more"
    if not held.no_network:
        return _SECCOMP_TOO
    known = landlock_version()
    return "" if known else _LANDLOCK_TOO


_SECCOMP_TOO = (
    "for more, let it filter its system calls (a kernel with seccomp on x86-64 or arm64) or make user namespaces"
    " (user.max_user_namespaces above 0; in a container, a runtime that allows unshare)"
)
_LANDLOCK_TOO = (
    "for more, run a kernel of 5.13 or later with landlock among its security modules (the boot option lsm=landlock,…), in a"
    " container one whose runtime lets landlock_create_ruleset through"
)


def _environment(scratch: Path) -> dict[str, str]:
    """Bare; what libraries like to write goes to the scratch folder, and none asks the network."""
    own = str(scratch)
    kept = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "MPLCONFIGDIR", "KERAS_HOME")
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "JOBLIB_MULTIPROCESSING": "0"}
    return {**bare_environment(), **dict.fromkeys(kept, own), **quiet}


def _listened(
    process: subprocess.Popen[bytes],
    answers: IO[bytes],
    complaints: IO[bytes],
    *,
    end_s: float,
    most_bytes: int | None,
) -> Ended:
    """What it says until it ends, its time is over, or it says too much."""
    answer, complaint = bytearray(), bytearray()
    with selectors.DefaultSelector() as waiting, _end_of(process.pid) as ending:
        waiting.register(answers, selectors.EVENT_READ, answer)
        waiting.register(complaints, selectors.EVENT_READ, complaint)
        if ending is not None:
            waiting.register(ending, selectors.EVENT_READ)
        while waiting.get_map():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                break
            if most_bytes is not None and _resident_bytes(process.pid) > most_bytes:
                return Ended(None, b"", False, is_too_large=True)
            for key, _ in waiting.select(left_s if most_bytes is None else min(left_s, LOOK_S)):
                if key.fd == ending:  # what it started holds its pipes no longer than this
                    waiting.unregister(key.fileobj)
                    _end_group(process.pid)
                    end_s = min(end_s, time.monotonic() + LAST_WORDS_S)
                    continue
                said = os.read(key.fd, PIECE_BYTES)
                if not said:
                    waiting.unregister(key.fileobj)
                key.data.extend(said)
                del complaint[:-KEPT_OF_COMPLAINTS]
            if len(answer) > MAX_ANSWER_BYTES:
                return Ended(None, b"", True)
    if complaint:
        _log.debug("what read a model said: %s", complaint.decode(errors="replace"))
    try:
        return Ended(process.wait(max(0.0, end_s - time.monotonic())), bytes(answer), False)
    except subprocess.TimeoutExpired:
        return Ended(None, b"", False)


def _resident_bytes(pid: int) -> int:
    """What the process holds in memory now; 0 where that is not told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _end_of(pid: int) -> Iterator[int | None]:
    """A descriptor that can be read once the process has ended, where the system has such a thing."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _end_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)

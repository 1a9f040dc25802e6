"""Processes of a benchmark: on a core of its own each, waited for until it answers right, ended with all that it started."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving.graph import Floats
from benchmarks.serving.wire import Form, WrongAnswer, check

ROOT = Path(__file__).parents[2]
SERVER_CORE = "0"
LOAD_CORE = "2" if {0, 1, 2} <= os.sched_getaffinity(0) else "1"
"""Where there are only two, a server that is given both shares one with the load."""
START_LIMIT_S = 120.0
COMMAND_LIMIT_S = 3600.0
"""One that trains or compresses takes minutes."""
FORM_LIMIT_S = 5.0
"""A server that answers one form has started; another form is answered at once or not at all."""
STOP_LIMIT_S = 15.0
POLL_S = 0.1
TAIL_LINES, LONGEST_REASON = 40, 260
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class DidNotStart(Exception):
    """A server ended, or did not answer right in time, or a command failed; the text says what it told last."""


def pinned(command: list[str], cores: str) -> list[str]:
    """The command, allowed to run on these cores alone. Raises DidNotStart where taskset or the cores are not there."""
    if shutil.which("taskset") is None:
        raise DidNotStart("taskset is not installed; Debian, Ubuntu: apt-get install util-linux")
    lacking = {int(core) for core in cores.split(",")} - os.sched_getaffinity(0)
    if lacking:
        raise DidNotStart(
            f"core {', '.join(map(str, sorted(lacking)))} is not there; server and load take one each, 0 and {LOAD_CORE}"
        )
    return ["taskset", "-c", cores, *command]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def own_environment() -> dict[str, str]:
    """This process's environment without settings of modeltap, which would lead a command to another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELTAP_")}


def told_by(home: Path, *words: str) -> dict[str, Any]:
    """The document that a command of modeltap prints. Raises DidNotStart where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "modeltap", *words, "--json"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={**own_environment(), "MODELTAP_HOME": str(home)},
        timeout=COMMAND_LIMIT_S,
        check=False,
    )
    if done.returncode:
        told = " ".join((done.stdout + done.stderr).split())
        raise DidNotStart(f"`modeltap {' '.join(words[:2])}` ended with {done.returncode}: {told[-LONGEST_REASON:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def cpu_seconds(pid: int) -> float:
    """Processor time of the process and of all that it started and that still runs."""
    spent_s = 0.0
    for process in (own := psutil.Process(pid), *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent_s += times.user + times.system
    return spent_s


@contextmanager
def launched(
    command: list[str], *, log: Path, cores: str = SERVER_CORE, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, its output in the log; it and all that it started are gone afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(command, cores),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**own_environment(), **ONE_THREAD, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def wait_until_right(
    process: subprocess.Popen[bytes], forms: Mapping[str, Form], port: int, expected: Floats, *, log: Path
) -> tuple[dict[str, Form], dict[str, str]]:
    """The forms that are answered as expected, and the others with what the server said to them.

    Raises DidNotStart where the server ends, or the first form is not answered right in time.
    """
    right: dict[str, Form] = {}
    refused: dict[str, str] = {}
    for name, form in forms.items():
        told = _wait_for_one(process, form, port, expected, log, limit_s=FORM_LIMIT_S if right else START_LIMIT_S)
        if told is None:
            right[name] = form
        elif right:
            refused[name] = told
        else:
            raise DidNotStart(f"no right answer in {START_LIMIT_S:.0f} s: {told}")
    return right, refused


def _wait_for_one(
    process: subprocess.Popen[bytes], form: Form, port: int, expected: Floats, log: Path, *, limit_s: float
) -> str | None:
    deadline_s = time.monotonic() + limit_s
    while True:
        if process.poll() is not None:
            raise DidNotStart(f"ended with {process.returncode}: {last_words(log)}")
        try:
            check(form, port, expected)
        except (OSError, WrongAnswer) as problem:
            if time.monotonic() > deadline_s:
                return str(problem)[:LONGEST_REASON]
            time.sleep(POLL_S)
        else:
            return None


def last_words(log: Path) -> str:
    """The line of the log that most likely says why."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-TAIL_LINES:] if line.strip()]
    telling = [line for line in lines if "rror" in line] or lines[-1:] or ["it said nothing"]
    return telling[-1][:LONGEST_REASON]


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        family = [*psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for one in family:
        if one.is_running():
            one.kill()
    psutil.wait_procs(family, STOP_LIMIT_S)

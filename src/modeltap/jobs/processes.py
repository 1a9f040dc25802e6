"""Which process a runner is, whether it still lives, and its end; no process that merely got the same number is touched."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import psutil

JOB_VARIABLE = "MODELTAP_JOB"
"""Set in a runner's environment, and so in that of all processes it starts, to what `mark_of` gives."""

_PROC = Path("/proc")


class RunnerProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A runner as its job's row tells: number, start time, and the job that stands on its command line."""

    job_id: str
    pid: int
    started_s: float


def started_s(pid: int) -> float | None:
    """When the process started, in seconds of a clock that nobody sets; None if it has ended, zombies included.

    On Linux this counts from the start of the system, elsewhere it is Unix time.
    """
    if pid <= 0:
        return None
    try:
        if (_PROC / "self/stat").exists():
            fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
            return None if fields[0] in (b"Z", b"X", b"x") else int(fields[19]) / os.sysconf("SC_CLK_TCK")
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (OSError, psutil.Error):
        return None


def is_alive(runner: RunnerProcess) -> bool:
    """True if that very process runs: the same number, the same start, and the job on its command line."""
    found_s = started_s(runner.pid)
    if found_s is None or abs(found_s - runner.started_s) > 0.02:  # ticks of 0.01 s, kept as floats
        return False
    try:
        arguments = psutil.Process(runner.pid).cmdline()
    except psutil.Error:
        return False
    return not arguments or runner.job_id in arguments  # none while it is on its way out


def find_runner(job_id: str, fence: int, home: Path) -> RunnerProcess | None:
    """The runner that was started with these arguments and still lives, if there is one."""
    wanted = [job_id, "--fence", str(fence), "--home", str(home)]
    for process in psutil.process_iter():
        try:
            if process.cmdline()[-len(wanted) :] == wanted and (began_s := started_s(process.pid)) is not None:
                return RunnerProcess(job_id=job_id, pid=process.pid, started_s=began_s)
        except psutil.Error:
            continue
    return None


def send_signal(runner: RunnerProcess, number: signal.Signals) -> None:
    """Sends the signal to the runner and its whole process group, if the runner still lives."""
    if is_alive(runner):
        try:
            os.killpg(runner.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def mark_of(job_id: str, fence: int) -> str:
    """What the processes of one runner are known by; those of the job's next runner have another."""
    return f"{job_id}/{fence}"


def kill_orphans(runner: RunnerProcess, fence: int) -> None:
    """Kills what a runner that has ended left behind, told by its environment; also what has a session of its own, as the
    processes of a distributed training have."""
    if started_s(runner.pid) is not None:  # it lives, or its number belongs to another process now
        return
    mark = mark_of(runner.job_id, fence)
    for process in psutil.process_iter():
        try:
            if process.environ().get(JOB_VARIABLE) == mark:
                process.kill()
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue

"""`python -m modeltap.runner JOB --fence N --home HOME`: does one job and writes its outcome, fenced by its lease."""

from __future__ import annotations

import argparse
import errno
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from modeltap.domain.job import Job
from modeltap.domain.progress import Progress
from modeltap.domain.struct_types import settle_types
from modeltap.errors import LeaseLost, MemoryExceeded, ModeltapError, StorageFailed
from modeltap.jobs.advance import Advance
from modeltap.jobs.journal import Journal
from modeltap.jobs.lease import Lease
from modeltap.runner.kinds import step_for
from modeltap.runner.steps import Step
from modeltap.storage.jobs import JobQueue, Outcome
from modeltap.storage.opening import DATABASE_VARIABLE, open_database, open_job_artifacts
from modeltap.storage.passing import may_pass
from modeltap.storage.reserve import spend_reserve
from modeltap.telemetry.logs import open_logs
from modeltap.training.stopped import Stopped

DISK_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
INTERNAL = {"code": "internal", "title": "An unexpected failure"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m modeltap.runner")
    parser.add_argument("job")
    parser.add_argument("--fence", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    arguments = parser.parse_args()
    open_logs("info")
    settle_types()
    database = open_database(arguments.home, os.environ.get(DATABASE_VARIABLE))
    try:
        return run_job(JobQueue(database), arguments.job, arguments.fence, arguments.home, database)
    finally:
        database.close()


def run_job(jobs: JobQueue, job_id: str, fence: int, home: Path, database: Any) -> int:
    """The exit status: 0 if an outcome was written, 1 if the lease was lost or the process was asked to end."""
    job = jobs.get(job_id)
    terminated = False

    def on_terminate(_number: int, _frame: Any) -> None:
        nonlocal terminated
        terminated = True

    signal.signal(signal.SIGTERM, on_terminate)
    journal = Journal(home, job.id)
    try:
        advance = Advance(job.reached) if job.kind == "train" else None
        with Lease(jobs, job.id, fence, clock=_now, advance=advance) as lease:

            def stop_requested() -> bool:
                return terminated or lease.is_lost or lease.wanted != "run"

            def report(progress: Progress) -> None:
                lease.show(progress)
                journal.append_event(msgspec.structs.replace(progress, at_s=time.time()))
                if line := log_line(progress):
                    _say(line)

            step = Step(
                job=job,
                home=home,
                database=database,
                artifacts=open_job_artifacts(home, os.environ),
                workdir=journal.folder,
                report=report,
                stop_requested=stop_requested,
                saved=lease.got_further,
            )
            ended = _outcome(job, step, lambda: jobs.get(job.id).wanted)
            lease.check()
        if ended is None:
            return 1
        try:
            _finish(jobs, job, fence, ended)
        except StorageFailed:
            spend_reserve(home)
            _finish(jobs, job, fence, ended)
        for path in step.discard:
            path.unlink(missing_ok=True)
    except LeaseLost as lost:
        _say(lost.message)
        return 1
    return 0


def log_line(progress: Progress) -> str:
    """What of the progress is worth a line in the log: the start of a phase, the end of an epoch; else nothing."""
    if progress.epoch_metrics:
        told = "  ".join(
            f"{n} {v:.4g}" for n, v in progress.epoch_metrics.items() if n != "epoch" and isinstance(v, int | float)
        )
        return f"epoch {progress.epoch_metrics.get('epoch', progress.epoch)}/{progress.epochs}  {told}"
    return f"{progress.phase}: {progress.message}" if progress.message else ""


class _Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How the job ended; `may_pass`: the failure may, so that it is tried again."""

    outcome: Outcome
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    may_pass: bool = False


def _finish(jobs: JobQueue, job: Job, fence: int, ended: _Ended) -> None:
    left = jobs.finish(
        job.id,
        fence,
        ended.outcome,
        _now(),
        result=ended.result,
        error=ended.error,
        may_pass=ended.may_pass,
        peak_bytes=_peak_bytes(),
    )
    if left.not_before is not None:
        _say(f"this may pass: tried again at {left.not_before:%Y-%m-%d %H:%M:%S} UTC (failure {left.retries} in a row)")


def _outcome(job: Job, step: Step, wanted: Callable[[], str]) -> _Ended | None:
    """How the job ended; None if it should be taken up by another runner."""
    try:
        return _Ended(outcome="succeed", result=step_for(job)(step))
    except Stopped:
        match wanted():
            case "pause":
                return _Ended(outcome="pause")
            case "cancel":
                return _Ended(outcome="cancel")
        return None
    except LeaseLost:
        raise
    except ModeltapError as problem:
        return _failed(problem, is_passing=may_pass(problem))
    except MemoryError:
        more = f"use fewer rows or smaller batches, or let it run when less does: modeltap jobs resume {job.id}"
        return _failed(MemoryExceeded(f"the machine's memory did not suffice for the job; {more}"))
    except OSError as problem:
        if problem.errno in DISK_REFUSALS:
            refused = StorageFailed(f"the disk refused: {problem.strerror}; free some space and resume the job")
            return _failed(refused, is_passing=may_pass(problem))
        return _unexpected(job)
    except Exception:
        return _unexpected(job)


def _failed(problem: ModeltapError, *, is_passing: bool = False) -> _Ended:
    _say(f"failed: {problem.message}")
    return _Ended(outcome="fail", error=problem.facts(), may_pass=is_passing)


def _unexpected(job: Job) -> _Ended:
    _say(traceback.format_exc())
    detail = f"the job failed in a way that nobody named; its log has the reason: modeltap jobs logs {job.id}"
    return _Ended(outcome="fail", error={**INTERNAL, "detail": detail})


def _peak_bytes() -> int:
    """The most memory that this process ever held, files that it maps included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _say(text: str) -> None:
    """Writes to the job's log. A disk that refuses must not keep the job from ending."""
    with suppress(OSError):
        print(text, flush=True)  # noqa: T201


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())

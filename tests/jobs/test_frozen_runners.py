"""A runner that stands still in the middle of a write keeps the database from everybody: it is ended, with the reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from modeltap.domain.job import Job
from modeltap.jobs.processes import started_s
from modeltap.jobs.supervisor import Supervisor
from modeltap.jobs.write_lock import find_writer
from modeltap.storage.database import Database
from modeltap.storage.jobs import JobRepository

NOW = datetime.now(UTC)
Make = Callable[..., Supervisor]
Until = Callable[..., None]


def frozen(home: Path, job: Job) -> bool:
    return (home / "jobs" / job.id / "frozen").exists()


def test_it_is_ended_and_everybody_writes_on(
    jobs: JobRepository, home: Path, clock: Callable[[], datetime], make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"freezes": [1]}, NOW)
    supervisor = make_supervisor()
    supervisor.tick()
    until(lambda: frozen(home, job))
    still = find_writer(home / "modeltap.db")
    assert still is not None and still == jobs.get(job.id).pid
    supervisor.look()
    clock.advance(2)  # type: ignore[attr-defined]
    supervisor.look()
    until(lambda: started_s(still) is None)
    jobs.add("evaluate", {}, NOW)  # would wait for 15 s, and fail
    until(lambda: len(jobs.list("succeeded")) == 2, supervisor)
    first, second = jobs.attempts(job.id)
    assert first.end == "frozen" and first.detail is not None and "stopped in the middle of a write" in first.detail
    assert second.end == "succeeded"


def test_one_that_is_stopped_elsewhere_is_left_alone(
    jobs: JobRepository, home: Path, clock: Callable[[], datetime], make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True}, NOW)
    supervisor = make_supervisor()
    until(lambda: (home / "jobs" / job.id / "events.jsonl").exists(), supervisor)
    pid = jobs.get(job.id).pid
    assert pid is not None
    while True:  # not in the middle of a renewal
        os.kill(pid, signal.SIGSTOP)
        if find_writer(home / "modeltap.db") != pid:
            break
        os.kill(pid, signal.SIGCONT)
    for _ in range(3):
        supervisor.look()
        clock.advance(5)  # type: ignore[attr-defined]
    assert started_s(pid) is not None


def test_nobody_else_is_ended_for_a_write(
    database: Database, jobs: JobRepository, home: Path, clock: Callable[[], datetime], make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True}, NOW)
    supervisor = make_supervisor()
    until(lambda: (home / "jobs" / job.id / "events.jsonl").exists(), supervisor)
    pid = jobs.get(job.id).pid
    assert pid is not None
    with database.writing():
        assert find_writer(home / "modeltap.db") == os.getpid()
        for _ in range(3):
            supervisor.look()
            clock.advance(100)  # type: ignore[attr-defined]
    assert started_s(pid) is not None
    assert find_writer(home / "nothing.db") is None

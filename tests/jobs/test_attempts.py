"""How each runner of a job ended is kept, and what waiting may help waits."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modeltap.domain.job import MAX_ATTEMPTS, Job
from modeltap.jobs.supervisor import Supervisor
from modeltap.storage.jobs import JobQueue, JobRepository

NOW = datetime.now(UTC)
Make = Callable[..., Supervisor]
Until = Callable[..., None]


def running(jobs: JobRepository, home: Path, job: Job) -> bool:
    """True once its runner has written its first line and holds the lease."""
    return jobs.get(job.id).progress is not None or (home / "jobs" / job.id / "events.jsonl").exists()


def test_the_end_of_each_runner_is_kept_with_its_last_line(
    jobs: JobRepository, home: Path, make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"stay": True}, NOW)
    supervisor = make_supervisor()
    until(lambda: running(jobs, home, job), supervisor)
    (first,) = jobs.attempts(job.id)
    assert (first.number, first.end, first.ended_at, first.threads) == (1, None, None, 1)
    assert first.pid is not None and first.pid == jobs.get(job.id).pid
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: len(jobs.attempts(job.id)) == 2, supervisor)
    first, _ = jobs.attempts(job.id)
    assert (first.end, first.signal, first.log_line) == ("killed", 9, "runner with fence 1 says grüezi")
    assert first.ended_at is not None and first.ended_at >= first.started_at
    assert first.detail is not None and "signal 9" in first.detail
    jobs.ask(job.id, "cancel", NOW)
    until(lambda: jobs.get(job.id).state == "cancelled", supervisor)
    assert jobs.attempts(job.id)[-1].end == "cancelled"


def test_a_status_is_kept_of_every_runner_until_the_job_fails(jobs: JobRepository, make_supervisor: Make, until: Until) -> None:
    job = jobs.add("train", {"status": 3}, NOW)
    until(lambda: jobs.get(job.id).state == "failed", make_supervisor())
    error = jobs.get(job.id).error
    assert error is not None and "status 3" in error["detail"] and f"jobs logs {job.id}" in error["detail"]
    attempts = jobs.attempts(job.id)
    assert [attempt.number for attempt in attempts] == list(range(1, MAX_ATTEMPTS + 1))
    assert {(attempt.end, attempt.exit_status, attempt.signal) for attempt in attempts} == {("exited", 3, None)}
    assert [attempt.log_line for attempt in attempts] == [
        f"runner with fence {n} says grüezi" for n in range(1, MAX_ATTEMPTS + 1)
    ]


def test_a_job_whose_checkpoint_can_never_be_read_fails_in_the_end(
    jobs: JobRepository, make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"saves": [0.0, 0.25]}, NOW)
    until(lambda: jobs.get(job.id).state == "failed", make_supervisor())
    failed = jobs.get(job.id)
    assert failed.error is not None and failed.error["code"] == "runner_died"
    assert (failed.reached, failed.fence) == (0.25, MAX_ATTEMPTS)


def test_what_may_pass_waits_longer_each_time_and_says_so(
    jobs: JobRepository, clock: Callable[[], datetime], make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"fails": 2}, NOW)
    supervisor = make_supervisor()
    for number, delay_s in ((1, 5.0), (2, 10.0)):
        until(lambda number=number: jobs.get(job.id).retries == number, supervisor)  # type: ignore[misc]
        waits = jobs.get(job.id)
        assert (waits.state, waits.error, waits.attempt) == ("queued", None, 0)
        assert waits.waiting is not None and waits.waiting["detail"] == "the disk is full"
        last = jobs.attempts(job.id)[-1]
        assert waits.not_before is not None and last.ended_at is not None
        assert (waits.not_before - last.ended_at).total_seconds() == delay_s
        assert (last.end, last.detail) == ("waits", "the disk is full")
        for _ in range(3):
            supervisor.tick()
            assert jobs.get(job.id).state == "queued"
        clock.advance(delay_s)  # type: ignore[attr-defined]
    until(lambda: jobs.get(job.id).state == "succeeded", supervisor)
    assert [attempt.end for attempt in jobs.attempts(job.id)] == ["waits", "waits", "succeeded"]
    assert jobs.get(job.id).waiting is None


def test_a_person_may_end_the_wait_or_the_job(jobs: JobRepository, make_supervisor: Make, until: Until) -> None:
    job, other = (jobs.add("train", {"fails": 1}, NOW) for _ in range(2))
    supervisor = make_supervisor(slots=2)
    until(lambda: jobs.get(job.id).retries == 1 and jobs.get(other.id).retries == 1, supervisor)
    assert jobs.ask(other.id, "cancel", NOW).state == "cancelled"
    resumed = jobs.resume(job.id, NOW)
    assert (resumed.state, resumed.not_before, resumed.waiting, resumed.retries) == ("queued", None, None, 0)
    until(lambda: jobs.get(job.id).state == "succeeded", supervisor)


def test_an_import_does_not_wait(jobs: JobRepository, make_supervisor: Make, until: Until) -> None:
    job = jobs.add("import", {"fails": 1}, NOW)
    until(lambda: jobs.get(job.id).state == "failed", make_supervisor())
    assert jobs.attempts(job.id)[-1].end == "failed"


@pytest.mark.parametrize("set_by_s", [3600.0, -3600.0], ids=["forward", "back"])
def test_a_clock_that_is_set_costs_no_lease_and_keeps_none(
    jobs: JobRepository,
    queue: JobQueue,
    home: Path,
    clock: Callable[[], datetime],
    make_supervisor: Make,
    until: Until,
    set_by_s: float,
) -> None:
    job = jobs.add("train", {"stay": True, "lease_s": 0.3}, NOW)
    supervisor = make_supervisor()
    until(lambda: running(jobs, home, job), supervisor)
    before = jobs.get(job.id)
    clock.set_by(set_by_s)  # type: ignore[attr-defined]
    until(lambda: jobs.get(job.id).lease_expires_at != before.lease_expires_at, supervisor)
    clock.advance(9)  # type: ignore[attr-defined]
    until(lambda: jobs.get(job.id).lease_expires_at != before.lease_expires_at, supervisor)
    assert (jobs.get(job.id).fence, jobs.get(job.id).pid) == (1, before.pid)
    assert before.pid is not None

    os.kill(before.pid, signal.SIGSTOP)  # one that is really silent is replaced all the same
    supervisor.tick()
    supervisor.tick()
    clock.advance(11)  # type: ignore[attr-defined]
    supervisor.tick()
    clock.advance(66)  # type: ignore[attr-defined]
    until(lambda: jobs.get(job.id).fence == 2, supervisor)
    assert jobs.attempts(job.id)[0].end == "silent"


def test_a_wait_that_a_clock_made_endless_is_over(
    jobs: JobRepository, clock: Callable[[], datetime], make_supervisor: Make, until: Until
) -> None:
    job = jobs.add("train", {"fails": 1}, NOW)
    supervisor = make_supervisor()
    until(lambda: jobs.get(job.id).retries == 1, supervisor)
    clock.set_by(-3600)  # type: ignore[attr-defined]
    until(lambda: jobs.get(job.id).state == "succeeded", supervisor)

"""What a job may have: memory with all it starts, and threads; and who goes first when there is too little."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modeltap.domain.job import JobTerms
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.jobs.journal import Journal
from modeltap.jobs.process_tree import read_processes, tree_of
from modeltap.jobs.supervisor import Supervisor
from modeltap.storage.database import Database
from modeltap.storage.jobs import JobRepository
from modeltap.storage.tenants import TenantRepository

NOW = datetime.now(UTC)
MB = 10**6
Make = Callable[..., Supervisor]
Until = Callable[..., None]


def test_a_job_over_its_memory_ends_with_what_it_used_and_what_to_do(
    database: Database, make_supervisor: Make, until: Until
) -> None:
    jobs = JobRepository(database, DEFAULT_TENANT, JobTerms(memory_bytes=300 * MB))
    job = jobs.add("train", {"stay": True, "hungry_child": 500 * MB}, NOW)
    supervisor = make_supervisor()
    until(lambda: jobs.get(job.id).pid is not None, supervisor)
    runner = jobs.get(job.id).pid
    assert runner is not None
    until(lambda: jobs.get(job.id).state == "failed", supervisor)
    error = jobs.get(job.id).error
    assert error is not None and error["code"] == "memory_limit_exceeded"
    assert "may use 300 MB" in error["detail"] and f"jobs resume {job.id} --memory" in error["detail"]
    (attempt,) = jobs.attempts(job.id)
    assert attempt.end == "over_memory" and attempt.peak_bytes is not None and attempt.peak_bytes > 300 * MB
    until(lambda: not tree_of(runner, read_processes()))

    more = JobRepository(database, DEFAULT_TENANT, JobTerms(memory_bytes=4000 * MB)).resume(job.id, NOW)
    assert more.memory_bytes == 4000 * MB
    until(lambda: len(Journal(supervisor._home, job.id).read_events()[0]) == 2, supervisor)
    for _ in range(3):
        supervisor.tick()
    assert jobs.get(job.id).state == "running"


def test_a_job_that_names_no_limit_has_that_of_the_settings(jobs: JobRepository, make_supervisor: Make, until: Until) -> None:
    job = jobs.add("train", {"stay": True, "hungry_child": 500 * MB}, NOW)
    until(lambda: jobs.get(job.id).state == "failed", make_supervisor(memory_bytes=300 * MB))
    error = jobs.get(job.id).error
    assert error is not None and error["code"] == "memory_limit_exceeded"


def test_libraries_are_told_the_threads_of_the_job(database: Database, home: Path, make_supervisor: Make, until: Until) -> None:
    asked = JobRepository(database, DEFAULT_TENANT, JobTerms(threads=3))
    jobs = [
        asked.add("train", {"tell_threads": True}, NOW),
        asked.add("train", {"tell_threads": True, "recipe": {"threads": 5}}, NOW),
        JobRepository(database, DEFAULT_TENANT).add("evaluate", {"tell_threads": True}, NOW),
    ]
    supervisor = make_supervisor(slots=3, pool={"share": 2})
    until(lambda: len(asked.list("succeeded")) == 3, supervisor)
    told = [Journal(home, job.id).read_log()[0].splitlines()[1] for job in jobs]
    assert told == ["3 3", "5 5", "2 2"]
    assert [asked.attempts(job.id)[0].threads for job in jobs] == [3, 5, 2]


def test_jobs_that_run_together_share_the_threads(database: Database, make_supervisor: Make, until: Until) -> None:
    jobs = JobRepository(database, DEFAULT_TENANT, JobTerms(threads=2))
    for _ in range(4):
        jobs.add("train", {}, NOW)
    supervisor = make_supervisor(slots=4, pool={"threads": 5})  # one of them is kept
    most = []

    def all_ended() -> bool:
        most.append(sum(job.given_threads or 0 for job in jobs.list("running")))
        return len(jobs.list("succeeded")) == 4

    until(all_ended, supervisor)
    assert 0 < max(most) <= 4


def test_the_job_of_another_tenant_goes_before_the_backlog_of_one(
    database: Database, make_supervisor: Make, until: Until
) -> None:
    TenantRepository(database).add("acme", {}, NOW)
    TenantRepository(database).add("solo", {}, NOW)
    acme, solo = JobRepository(database, "acme"), JobRepository(database, "solo")
    backlog = [acme.add("train", {}, NOW + timedelta(seconds=number)) for number in range(5)]
    supervisor = make_supervisor()
    until(lambda: acme.list("succeeded"), supervisor)
    one = solo.add("train", {}, NOW + timedelta(seconds=100))
    until(lambda: solo.get(one.id).state == "succeeded", supervisor)
    assert acme.list("queued") or acme.list("running"), "the backlog is not over"
    until(lambda: len(acme.list("succeeded")) == len(backlog), supervisor)


def test_of_ones_own_jobs_the_urgent_one_is_first(database: Database, make_supervisor: Make, until: Until) -> None:
    def of(priority: str) -> JobRepository:
        return JobRepository(database, DEFAULT_TENANT, JobTerms(priority=priority))  # type: ignore[arg-type]

    added = [of(priority).add("train", {}, NOW) for priority in ("low", "normal", "high")]
    jobs = of("normal")
    until(lambda: len(jobs.list("succeeded")) == 3, make_supervisor())
    started = sorted(added, key=lambda job: jobs.attempts(job.id)[0].started_at)
    assert [job.priority for job in started] == ["high", "normal", "low"]

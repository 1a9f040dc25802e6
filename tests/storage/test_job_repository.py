"""Jobs: every state and event, claims by several processes, fences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltap.domain.attempt import HowEnded
from modeltap.domain.job import ENDED, MAX_ATTEMPTS, TRANSITIONS, Job, JobEvent, JobState
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.errors import Conflict, InvalidInput, LeaseLost, NotFound
from modeltap.storage.database import Database
from modeltap.storage.jobs import JobQueue, JobRepository
from modeltap.storage.opening import open_database


@pytest.fixture
def jobs(database: Database) -> JobRepository:
    return JobRepository(database, DEFAULT_TENANT)


@pytest.fixture
def queue(database: Database) -> JobQueue:
    return JobQueue(database)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = open_database(tmp_path_factory.mktemp("walked"))
    yield database
    database.close()


NOW = datetime(2026, 11, 22, tzinfo=UTC)

APPLY: dict[JobEvent, Callable[[JobRepository, JobQueue, Job], Job | None]] = {
    "claim": lambda jobs, queue, job: queue.claim(NOW, 10),
    "succeed": lambda jobs, queue, job: queue.finish(job.id, job.fence, "succeed", NOW, result={"version": "iris@1"}),
    "fail": lambda jobs, queue, job: queue.finish(job.id, job.fence, "fail", NOW, error={"code": "x"}),
    "cancel": lambda jobs, queue, job: (
        queue.finish(job.id, job.fence, "cancel", NOW) if job.state == "running" else jobs.ask(job.id, "cancel", NOW)
    ),
    "pause": lambda jobs, queue, job: (
        queue.finish(job.id, job.fence, "pause", NOW) if job.state == "running" else jobs.ask(job.id, "pause", NOW)
    ),
    "lose_lease": lambda jobs, queue, job: queue.lose_lease(job.id, job.fence, NOW),
    "resume": lambda jobs, queue, job: jobs.resume(job.id, NOW),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(APPLY)), max_size=12))
def test_every_event_leads_where_the_domain_says_or_is_refused(walked: Database, events: list[JobEvent]) -> None:
    walked_jobs, queue = JobRepository(walked, DEFAULT_TENANT), JobQueue(walked)
    job = walked_jobs.add("train", {}, NOW)
    deaths = 0
    for event in events:
        before = walked_jobs.get(job.id)
        after: JobState | None = TRANSITIONS.get((before.state, event))
        deaths = 0 if event == "resume" and after else deaths + (event == "lose_lease" and after is not None)
        if deaths == MAX_ATTEMPTS:
            after = "failed"
        if after is None:
            with suppress(Conflict):
                assert APPLY[event](walked_jobs, queue, before) is None and event == "claim"
            assert walked_jobs.get(job.id) == before
        else:
            APPLY[event](walked_jobs, queue, before)
            found = walked_jobs.get(job.id)
            assert found.state == after
            assert found.fence == before.fence + (event == "claim")
            assert (found.ended_at is not None) == (found.state in ENDED)
            assert (found.lease_expires_at is not None) == (found.state == "running")
    if walked_jobs.get(job.id).state == "queued":
        walked_jobs.ask(job.id, "cancel", NOW)  # the next example claims its own


def test_a_job_is_read_back_as_it_was_added(jobs: JobRepository) -> None:
    job = jobs.add("train", {"dataset": "iris@1", "recipe": {"epochs": 3, "größe": [1.5, None]}}, NOW)
    assert job == jobs.get(job.id)
    assert len(job.id) == 16 and job.id.startswith("job-") and job.id == job.id.lower()
    with pytest.raises(NotFound):
        jobs.get("job-none")
    with pytest.raises(InvalidInput, match="train"):
        jobs.add("dance", {}, NOW)  # type: ignore[arg-type]


def test_the_list_is_newest_first_and_can_be_narrowed(jobs: JobRepository, queue: JobQueue) -> None:
    added = [jobs.add("train", {}, NOW + timedelta(seconds=n)) for n in range(4)]
    queue.claim(NOW, 10)
    newest_first = [job.id for job in reversed(added)]
    assert [job.id for job in jobs.list()] == newest_first
    assert [job.id for job in jobs.list(limit=2)] == newest_first[:2]
    assert [job.id for job in jobs.list("running")] == [added[0].id]


def test_jobs_are_claimed_in_the_order_they_came(jobs: JobRepository, queue: JobQueue) -> None:
    added = [jobs.add("train", {}, NOW + timedelta(seconds=n)) for n in range(3)]
    claimed = [queue.claim(NOW, 10) for _ in range(4)]
    assert [job.id if job else None for job in claimed] == [*(job.id for job in added), None]
    assert claimed[0] and claimed[0].lease_expires_at == NOW + timedelta(seconds=10)


def test_several_processes_that_claim_get_each_job_once(database: Database, home: Path) -> None:
    jobs = JobRepository(database, DEFAULT_TENANT)
    added = {jobs.add("train", {}, NOW).id for _ in range(40)}
    script = f"""
from datetime import UTC, datetime
from pathlib import Path
from modeltap.storage.opening import open_database
from modeltap.storage.jobs import JobQueue
queue = JobQueue(open_database(Path({str(home)!r})))
while job := queue.claim(datetime.now(UTC), 10):
    print(job.id)
"""
    started = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    claimed = [line for process in started for line in process.communicate()[0].split()]
    assert len(claimed) == 40 and set(claimed) == added


def test_a_runner_given_up_for_dead_can_write_nothing(jobs: JobRepository, queue: JobQueue) -> None:
    jobs.add("train", {}, NOW)
    old = queue.claim(NOW, 10)
    assert old is not None
    queue.lose_lease(old.id, old.fence, NOW)
    writes: list[Callable[[], object]] = [
        lambda: queue.heartbeat(old.id, old.fence, NOW, 10),
        lambda: queue.set_process(old.id, old.fence, 1, 1.0),
        lambda: queue.finish(old.id, old.fence, "succeed", NOW, result={}),
        lambda: queue.lose_lease(old.id, old.fence, NOW),
    ]

    def refused() -> bool:
        before = jobs.get(old.id)
        for write in writes:
            with pytest.raises(LeaseLost):
                write()
        return jobs.get(old.id) == before

    assert refused()  # queued
    new = queue.claim(NOW, 10)
    assert new is not None and new.fence == old.fence + 1 and new.attempt == 2
    assert refused()  # held by another
    queue.finish(new.id, new.fence, "succeed", NOW, result={"version": "iris@1"})
    assert refused()  # ended
    assert jobs.get(old.id).result == {"version": "iris@1"}


def test_a_heartbeat_extends_the_lease_and_brings_what_is_wanted(jobs: JobRepository, queue: JobQueue) -> None:
    jobs.add("train", {}, NOW)
    job = queue.claim(NOW, 10)
    assert job is not None
    later = NOW + timedelta(seconds=5)
    assert queue.heartbeat(job.id, job.fence, later, 10, progress={"phase": "train", "fraction": 0.5}) == "run"
    assert jobs.ask(job.id, "pause", later).state == "running"
    assert queue.heartbeat(job.id, job.fence, later, 10) == "pause"
    jobs.ask(job.id, "cancel", later)
    assert queue.heartbeat(job.id, job.fence, later, 10) == "cancel"
    with pytest.raises(Conflict, match="being cancelled"):
        jobs.ask(job.id, "pause", later)
    found = jobs.get(job.id)
    assert found.lease_expires_at == later + timedelta(seconds=10)
    assert found.progress == {"phase": "train", "fraction": 0.5}


@pytest.mark.parametrize(("wanted", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_runner_that_dies_when_it_should_stop_leaves_the_job_as_wanted(
    jobs: JobRepository, queue: JobQueue, wanted: str, state: str
) -> None:
    jobs.add("train", {}, NOW)
    job = queue.claim(NOW, 10)
    assert job is not None
    jobs.ask(job.id, wanted, NOW)  # type: ignore[arg-type]
    assert queue.lose_lease(job.id, job.fence, NOW).state == state
    resumed = jobs.resume(job.id, NOW)
    assert (resumed.state, resumed.wanted, resumed.attempt) == ("queued", "run", 0)


def test_a_job_whose_runners_keep_dying_fails_and_says_so(jobs: JobRepository, queue: JobQueue) -> None:
    jobs.add("train", {}, NOW)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        job = queue.claim(NOW, 10)
        assert job is not None and job.attempt == attempt
        job = queue.lose_lease(job.id, job.fence, NOW, how=HowEnded(end="killed", detail="it was killed by signal 9"))
    assert job.state == "failed" and job.error is not None
    assert "5 runners" in job.error["detail"] and "signal 9" in job.error["detail"]
    jobs.resume(job.id, NOW)
    again = queue.claim(NOW, 10)
    assert again is not None and (again.attempt, again.error) == (1, None)

"""The runner's side: it renews, hears what is wanted, and knows when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from modeltap.domain.job import Job
from modeltap.domain.progress import Progress
from modeltap.errors import LeaseLost
from modeltap.jobs.lease import Lease
from modeltap.storage.jobs import JobQueue, JobRepository

LEASE_S = 0.06
Until = Callable[..., None]


@pytest.fixture
def job(jobs: JobRepository, queue: JobQueue) -> Job:
    jobs.add("train", {}, datetime.now(UTC))
    job = queue.claim(datetime.now(UTC), LEASE_S)
    assert job is not None
    return job


def hold(queue: JobQueue, job: Job) -> Lease:
    return Lease(queue, job.id, job.fence, clock=lambda: datetime.now(UTC), lease_s=LEASE_S)


def test_a_lease_is_renewed_and_shows_progress(jobs: JobRepository, queue: JobQueue, job: Job, until: Until) -> None:
    with hold(queue, job) as lease:
        first = jobs.get(job.id)
        assert first.pid is not None and first.pid_started_s
        lease.show(Progress(phase="train", fraction=0.5))
        until(lambda: jobs.get(job.id).progress == {"phase": "train", "fraction": 0.5})
        until(lambda: jobs.get(job.id).lease_expires_at > first.lease_expires_at)
        lease.check()


def test_a_runner_hears_what_a_person_wants(jobs: JobRepository, queue: JobQueue, job: Job, until: Until) -> None:
    with hold(queue, job) as lease:
        assert lease.wanted == "run"
        jobs.ask(job.id, "pause", datetime.now(UTC))
        until(lambda: lease.wanted == "pause")


def test_a_runner_notices_that_another_one_took_over(jobs: JobRepository, queue: JobQueue, job: Job, until: Until) -> None:
    with hold(queue, job) as lease:
        queue.lose_lease(job.id, job.fence, datetime.now(UTC))
        queue.claim(datetime.now(UTC), LEASE_S)
        until(lambda: lease.is_lost)
        with pytest.raises(LeaseLost):
            lease.check()
    with pytest.raises(LeaseLost):
        hold(queue, job).__enter__()

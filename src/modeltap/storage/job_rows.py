"""Rows of the job table as values, and the changes of one row that several transactions share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, true, update

from modeltap.domain.attempt import HowEnded, retry_delay_s
from modeltap.domain.job import JOB_KINDS, Job, JobEvent, JobKind, JobState, next_state
from modeltap.errors import LeaseLost, NotFound
from modeltap.storage.attempts import end_attempt
from modeltap.storage.database import Database
from modeltap.storage.tables import jobs


def job_of_row(row: Row[Any]) -> Job:
    return Job(**row._mapping)


def list_jobs(
    database: Database, seen: ColumnElement[bool], state: JobState | None, kinds: Collection[JobKind], limit: int | None
) -> tuple[Job, ...]:
    query = select(jobs).where(seen).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
    if set(kinds) != set(JOB_KINDS):
        query = query.where(jobs.c.kind.in_(sorted(kinds)))
    if state is not None:
        query = query.where(jobs.c.state == state)
    with database.reading() as connection:
        return tuple(map(job_of_row, connection.execute(query)))


def get_job(connection: Connection, seen: ColumnElement[bool], job_id: str, *, lock: bool = False) -> Job:
    query = select(jobs).where(seen, jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound(f"there is no job '{job_id}'; 'modeltap jobs list' shows all")
    return job_of_row(row)


def get_held(connection: Connection, job_id: str, fence: int) -> Job:
    job = get_job(connection, true(), job_id, lock=True)
    if job.fence != fence or job.state != "running":
        raise lease_lost(job_id)
    return job


def is_held(job_id: str, fence: int) -> ColumnElement[bool]:
    return (jobs.c.id == job_id) & (jobs.c.fence == fence) & (jobs.c.state == "running")


def lease_lost(job_id: str) -> LeaseLost:
    return LeaseLost(f"this runner no longer holds the job {job_id}; what it writes is refused, and it must end")


def wait_to_retry(connection: Connection, job: Job, now: datetime, how: HowEnded, error: dict[str, Any]) -> Job:
    """The job, queued, but not to be started before its wait is over."""
    values = {
        "attempt": 0,
        "retries": job.retries + 1,
        "not_before": now + timedelta(seconds=retry_delay_s(job.retries)),
        "waiting": error,
    }
    return end_hold(connection, job, "retry", now, how, more=values)


def end_hold(
    connection: Connection,
    job: Job,
    event: JobEvent,
    now: datetime,
    how: HowEnded,
    *,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Job:
    """The job without its runner, in the state after `event`."""
    state = next_state(job.state, event)
    values: dict[str, Any] = {
        "state": state,
        "wanted": "run",
        "pid": None,
        "pid_started_s": None,
        "lease_expires_at": None,
        "given_threads": None,
        "waiting": None,
        "ended_at": now if state in ("succeeded", "failed", "cancelled") else None,
        "result": result,
        "error": error,
        **(more or {}),
    }
    end_attempt(connection, job.id, job.fence, now, how)
    return change_job(connection, job.id, values)


def change_job(connection: Connection, job_id: str, values: dict[str, Any]) -> Job:
    return job_of_row(connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values).returning(*jobs.c)).one())

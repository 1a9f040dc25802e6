"""The rows of attempts, written in the transactions that start and end a runner's hold; and what tenants used of slots."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, literal, select, update

from modeltap.domain.attempt import Attempt, HowEnded
from modeltap.domain.job import Job
from modeltap.domain.scheduling import Pool, Used
from modeltap.storage.tables import UtcTime, job_attempts, jobs

USED_WINDOW_S = 3600.0
"""What a tenant used of slots is counted for so long."""
MOST_SHOWN = 50

_COLUMNS = [job_attempts.c[field.name] for field in msgspec.structs.fields(Attempt)]


def begin_attempt(connection: Connection, job: Job, now: datetime) -> None:
    """The job was claimed: its fence is the attempt's number."""
    values = {"job": job.id, "number": job.fence, "started_at": now, "threads": job.given_threads}
    connection.execute(insert(job_attempts).values(**values))


def note_process(connection: Connection, job_id: str, number: int, pid: int) -> None:
    """The attempt's process is known."""
    _change(connection, job_id, number, {"pid": pid})


def end_attempt(connection: Connection, job_id: str, number: int, now: datetime, how: HowEnded) -> None:
    """The attempt has ended; what is known of it stays. One that an older modeltap began has no row, and gets none."""
    _change(connection, job_id, number, {"ended_at": now, **msgspec.structs.asdict(how)})


def attempts_of(connection: Connection, job_id: str, *, limit: int = MOST_SHOWN) -> tuple[Attempt, ...]:
    """The newest of them, the oldest of those first."""
    query = select(*_COLUMNS).where(job_attempts.c.job == job_id).order_by(job_attempts.c.number.desc()).limit(limit)
    return tuple(Attempt(**row._mapping) for row in reversed(connection.execute(query).all()))


def read_used(connection: Connection, pool: Pool, now: datetime) -> Used:
    """Slot seconds of the last hour; a clock that was set meanwhile makes none of them negative or more than the hour."""
    since = now - timedelta(seconds=USED_WINDOW_S)
    ended = job_attempts.c.ended_at
    query = (
        select(jobs.c.tenant, jobs.c.kind, job_attempts.c.started_at, ended)
        .join(jobs, jobs.c.id == job_attempts.c.job)
        .where(ended.is_(None) | (ended > literal(since, UtcTime())))
    )
    used: defaultdict[tuple[str, str], float] = defaultdict(float)
    for tenant, kind, started_at, ended_at in connection.execute(query):
        until = min(ended_at or now, now)
        used[pool.lane_of(kind).noun, tenant] += max(0.0, (until - max(started_at, since)).total_seconds())
    return used


def _change(connection: Connection, job_id: str, number: int, values: dict[str, Any]) -> None:
    of = (job_attempts.c.job == job_id) & (job_attempts.c.number == number)
    connection.execute(update(job_attempts).where(of).values(**values))

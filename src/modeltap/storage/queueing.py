"""What the plan of the next start is made of: who waits, who runs, who used how much; read in one transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, literal, select

from modeltap.domain.attempt import LONGEST_RETRY_S
from modeltap.domain.job import JobKind
from modeltap.domain.scheduling import Pool, Running, Standing, Start, Waiting, plan_standings, plan_starts
from modeltap.storage.attempts import read_used
from modeltap.storage.tables import UtcTime, jobs

_OF_WAITING = (jobs.c.id, jobs.c.tenant, jobs.c.kind, jobs.c.priority, jobs.c.created_at, jobs.c.threads)


def plan_start(connection: Connection, pool: Pool, kinds: Collection[JobKind], now: datetime) -> Start | None:
    """The job of these kinds that starts next, or None."""
    waiting = _read_first(connection, kinds, now)
    if not waiting:
        return None
    starts = plan_starts(waiting, _read_running(connection), read_used(connection, pool, now), pool)
    return starts[0] if starts else None


def read_standings(connection: Connection, pool: Pool, now: datetime) -> dict[str, Standing]:
    """Of every job that waits for nothing but its turn."""
    rows = connection.execute(select(*_OF_WAITING).where(_is_due(now)))
    waiting = [_waiting(*row) for row in rows]
    if not waiting:
        return {}
    return plan_standings(waiting, _read_running(connection), read_used(connection, pool, now), pool)


def _read_first(connection: Connection, kinds: Collection[JobKind], now: datetime) -> list[Waiting]:
    """Of each tenant, kind and priority the job that came first: no other of them can be next."""
    place = func.row_number().over(
        partition_by=(jobs.c.tenant, jobs.c.kind, jobs.c.priority), order_by=(jobs.c.created_at, jobs.c.id)
    )
    ranked = select(*_OF_WAITING, place.label("place")).where(_is_due(now), jobs.c.kind.in_(sorted(kinds))).subquery()
    rows = connection.execute(select(*(ranked.c[column.name] for column in _OF_WAITING)).where(ranked.c.place == 1))
    return [_waiting(*row) for row in rows]


def _waiting(job_id: str, tenant: str, kind: JobKind, priority: str, created_at: datetime, threads: int | None) -> Waiting:
    return Waiting(
        id=job_id,
        tenant=tenant,
        kind=kind,
        priority=priority,  # type: ignore[arg-type]  # written as one
        created_s=created_at.timestamp(),
        threads=threads,
    )


def _read_running(connection: Connection) -> list[Running]:
    """A job that an older modeltap started counts as one thread."""
    rows = connection.execute(select(jobs.c.tenant, jobs.c.kind, jobs.c.given_threads).where(jobs.c.state == "running"))
    return [Running(tenant=tenant, kind=kind, threads=1 if threads is None else threads) for tenant, kind, threads in rows]


def _is_due(now: datetime) -> ColumnElement[bool]:
    """As domain.attempt.is_due says, in SQL."""
    latest = literal(now + timedelta(seconds=LONGEST_RETRY_S), UtcTime())
    is_over = jobs.c.not_before.is_(None) | (jobs.c.not_before <= literal(now, UtcTime())) | (jobs.c.not_before > latest)
    return (jobs.c.state == "queued") & is_over

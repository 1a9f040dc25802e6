"""Jobs as their tenant sees them, and the queue of all tenants' jobs with its leases; the one place that maps their rows.

A claim gives the job to one runner and raises its fence. Every later write of that runner names the fence, so what a
runner writes that was given up for dead is refused.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, func, insert, literal, select, true, update

from modeltap.domain.job import JOB_KINDS, MAX_ATTEMPTS, Job, JobEvent, JobKind, JobState, Via, Wanted, next_state
from modeltap.errors import Conflict, InvalidInput, LeaseLost, NotFound
from modeltap.faults import crash_point
from modeltap.storage.database import Database
from modeltap.storage.tables import UtcTime, jobs

Outcome = Literal["succeed", "fail", "cancel", "pause"]
"""How a runner may end its hold on a job."""


class JobRepository:
    """The jobs of one tenant, and what a person may want of them. Every method is one transaction."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    def add(
        self, kind: JobKind, spec: dict[str, Any], now: datetime, *, via: Via | None = None, job_id: str | None = None
    ) -> Job:
        """The new job, queued; under `job_id`, one of `new_job_id`, where its spec names it."""
        if kind not in JOB_KINDS:
            raise InvalidInput(f"there is no job of kind '{kind}'; kinds: {', '.join(JOB_KINDS)}")
        job = Job(id=job_id or new_job_id(), tenant=self._tenant, kind=kind, state="queued", spec=spec, created_at=now, via=via)
        with self._database.writing() as connection:
            connection.execute(insert(jobs).values(**msgspec.structs.asdict(job)))
        crash_point("job.queued")
        return job

    def get(self, job_id: str) -> Job:
        """Raises NotFound, also for the job of another tenant."""
        with self._database.reading() as connection:
            return _get(connection, self._own, job_id)

    def list(self, state: JobState | None = None, *, limit: int | None = 100) -> tuple[Job, ...]:
        """The newest first, of one state or of all; `limit` None is all of them."""
        return _list(self._database, self._own, state, JOB_KINDS, limit)

    def page(self, via: Via, kind: JobKind, *, after: Job | None = None, limit: int = 100) -> tuple[Job, ...]:
        """Those of that kind that came that way, the newest first; those that came before `after`, where it is given."""
        query = select(jobs).where(self._own, jobs.c.via == via, jobs.c.kind == kind)
        if after is not None:
            created_at = literal(after.created_at, UtcTime())
            is_older = (jobs.c.created_at == created_at) & (jobs.c.id < after.id)
            query = query.where((jobs.c.created_at < created_at) | is_older)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit))
            return tuple(map(_job, rows))

    def note_result(self, job_id: str, result: dict[str, Any]) -> Job:
        """The job with a result that was made of what it left: one that was stopped, and has none. Raises NotFound."""
        with self._database.writing() as connection:
            job = _get(connection, self._own, job_id, lock=True)
            if job.state not in ("failed", "cancelled") or job.result is not None:
                return job
            return _update(connection, job_id, {"result": result})

    def ask(self, job_id: str, wanted: Literal["pause", "cancel"], now: datetime) -> Job:
        """The job after a person asked to pause or cancel it: at once if it does not run, else noted for its runner.

        A cancel that was asked for stays one. Raises NotFound, Conflict.
        """
        with self._database.writing() as connection:
            job = _get(connection, self._own, job_id, lock=True)
            state = next_state(job.state, wanted)
            if job.state != "running":
                values: dict[str, Any] = {"state": state}
                if state == "cancelled":
                    values["ended_at"] = now
            elif job.wanted == "cancel" and wanted == "pause":
                raise Conflict(f"the job {job_id} is being cancelled; resume it when it has ended")
            else:
                values = {"wanted": wanted}
            return _update(connection, job_id, values)

    def resume(self, job_id: str, now: datetime) -> Job:
        """The job, queued again and with all its attempts. Raises NotFound, Conflict."""
        with self._database.writing() as connection:
            job = _get(connection, self._own, job_id, lock=True)
            state = next_state(job.state, "resume")
            values = {"state": state, "wanted": "run", "attempt": 0, "ended_at": None, "error": None}
            return _update(connection, job_id, values)

    @property
    def _own(self) -> ColumnElement[bool]:
        return jobs.c.tenant == self._tenant


class JobQueue:
    """The jobs of all tenants, for those who run them: the supervisor and its runners. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        with self._database.reading() as connection:
            return _get(connection, true(), job_id)

    def list(
        self, state: JobState | None = None, *, kinds: Collection[JobKind] = JOB_KINDS, limit: int | None = 100
    ) -> tuple[Job, ...]:
        """The newest first, of one state or of all; `limit` None is all of them."""
        return _list(self._database, true(), state, kinds, limit)

    def counted(self) -> Sequence[tuple[tuple[str, str], int]]:
        """How many jobs there are of each kind and state."""
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state))
            return [((row[0], row[1]), row[2]) for row in rows]

    def claim(self, now: datetime, lease_s: float, *, kinds: Collection[JobKind] = JOB_KINDS) -> Job | None:
        """The oldest queued job of these kinds, running now under a new fence; None if no such job waits. Each job goes to
        one caller."""
        oldest = (
            select(jobs.c.id)
            .where(jobs.c.state == "queued", jobs.c.kind.in_(sorted(kinds)))
            .order_by(jobs.c.created_at, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)  # of servers that have it; SQLite has one writer anyway
        )
        statement = (
            update(jobs)
            .where(jobs.c.id == oldest.scalar_subquery(), jobs.c.state == "queued")
            .values(
                state=next_state("queued", "claim"),
                fence=jobs.c.fence + 1,
                attempt=jobs.c.attempt + 1,
                pid=None,
                pid_started_s=None,
                lease_expires_at=now + timedelta(seconds=lease_s),
                started_at=func.coalesce(jobs.c.started_at, literal(now, UtcTime())),
                ended_at=None,
                result=None,
                error=None,
            )
            .returning(*jobs.c)
        )
        with self._database.writing() as connection:
            row = connection.execute(statement).first()
        return None if row is None else _job(row)

    def heartbeat(
        self,
        job_id: str,
        fence: int,
        now: datetime,
        lease_s: float,
        *,
        progress: dict[str, Any] | None = None,
        got_further: bool = False,
    ) -> Wanted:
        """What a person wants of the job; the lease lasts `lease_s` from `now`. Raises LeaseLost.

        got_further: this runner saved more than it began with, so that attempts are counted from it on.
        """
        values: dict[str, Any] = {"lease_expires_at": now + timedelta(seconds=lease_s)}
        if progress is not None:
            values["progress"] = progress
        if got_further:
            values["attempt"] = 1
        statement = update(jobs).where(_held(job_id, fence)).values(**values).returning(jobs.c.wanted)
        with self._database.writing() as connection:
            wanted: Wanted | None = connection.scalar(statement)
            if wanted is None:
                raise _lost(job_id)
        return wanted

    def set_process(self, job_id: str, fence: int, pid: int, pid_started_s: float) -> None:
        """Notes which process holds the lease. Raises LeaseLost."""
        statement = update(jobs).where(_held(job_id, fence)).values(pid=pid, pid_started_s=pid_started_s)
        with self._database.writing() as connection:
            if connection.execute(statement).rowcount == 0:
                raise _lost(job_id)

    def finish(
        self,
        job_id: str,
        fence: int,
        event: Outcome,
        now: datetime,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> Job:
        """The job as the runner leaves it. Raises LeaseLost if this runner no longer holds it, NotFound."""
        crash_point("job.before_result")
        with self._database.writing() as connection:
            job = _get_held(connection, job_id, fence)
            return _end(connection, job, event, now, result=result, error=error)

    def lose_lease(self, job_id: str, fence: int, now: datetime, *, cause: str = "it ended without a word") -> Job:
        """The job after its runner died: queued again, or as a person wanted it: cancelled, paused.

        Failed after MAX_ATTEMPTS runners in a row that got no further; `cause` tells of the last one.
        Raises LeaseLost, NotFound.
        """
        with self._database.writing() as connection:
            job = _get_held(connection, job_id, fence)
            if job.wanted != "run":
                return _end(connection, job, job.wanted, now)
            if job.attempt < MAX_ATTEMPTS:
                return _end(connection, job, "lose_lease", now)
            detail = (
                f"{job.attempt} runners in a row ended without a result; of the last one: {cause}."
                f" 'modeltap jobs logs {job.id}' shows what it wrote, 'modeltap jobs resume {job.id}' tries again"
            )
            error = {"code": "runner_died", "title": "The job's process keeps ending", "detail": detail}
            return _end(connection, job, "fail", now, error=error)


def new_job_id() -> str:
    """`job-` and 12 letters or digits, 60 random bits."""
    return "job-" + base64.b32encode(secrets.token_bytes(8))[:12].decode().lower()


def _job(row: Row[Any]) -> Job:
    return Job(**row._mapping)


def _list(
    database: Database, seen: ColumnElement[bool], state: JobState | None, kinds: Collection[JobKind], limit: int | None
) -> tuple[Job, ...]:
    query = select(jobs).where(seen).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
    if set(kinds) != set(JOB_KINDS):
        query = query.where(jobs.c.kind.in_(sorted(kinds)))
    if state is not None:
        query = query.where(jobs.c.state == state)
    with database.reading() as connection:
        return tuple(map(_job, connection.execute(query)))


def _get(connection: Connection, seen: ColumnElement[bool], job_id: str, *, lock: bool = False) -> Job:
    query = select(jobs).where(seen, jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound(f"there is no job '{job_id}'; 'modeltap jobs list' shows all")
    return _job(row)


def _get_held(connection: Connection, job_id: str, fence: int) -> Job:
    job = _get(connection, true(), job_id, lock=True)
    if job.fence != fence or job.state != "running":
        raise _lost(job_id)
    return job


def _held(job_id: str, fence: int) -> ColumnElement[bool]:
    return (jobs.c.id == job_id) & (jobs.c.fence == fence) & (jobs.c.state == "running")


def _lost(job_id: str) -> LeaseLost:
    return LeaseLost(f"this runner no longer holds the job {job_id}; what it writes is refused, and it must end")


def _end(
    connection: Connection,
    job: Job,
    event: JobEvent,
    now: datetime,
    *,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> Job:
    """The job without its runner, in the state after `event`."""
    state = next_state(job.state, event)
    values: dict[str, Any] = {
        "state": state,
        "wanted": "run",
        "pid": None,
        "pid_started_s": None,
        "lease_expires_at": None,
        "ended_at": now if state in ("succeeded", "failed", "cancelled") else None,
        "result": result,
        "error": error,
    }
    return _update(connection, job.id, values)


def _update(connection: Connection, job_id: str, values: dict[str, Any]) -> Job:
    return _job(connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values).returning(*jobs.c)).one())

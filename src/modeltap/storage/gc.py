"""Removes what nothing refers to any more: artifacts, files half written, folders of jobs that are gone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from sqlalchemy import Connection, or_, select

from modeltap.domain.job import ENDED
from modeltap.errors import NotFound
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.backup import STAGING_PREFIXES
from modeltap.storage.database import Database
from modeltap.storage.disk import disk_failures
from modeltap.storage.tables import dataset_versions, deployment_routes, jobs, model_versions

RESUMABLE_FOR = timedelta(days=7)
"""What a failed or cancelled job needs is kept so long, in case it is resumed."""

_DIGEST_IN_TEXT = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class GcResult(msgspec.Struct, frozen=True, kw_only=True):
    """`removed` and `kept` count artifacts; `freed_bytes` counts everything that was removed."""

    removed: int
    freed_bytes: int
    kept: int


def collect(database: Database, artifacts: ArtifactStore, now: datetime, grace_s: float) -> GcResult:
    """Removes what is not used and was not stored again in the last `grace_s`. Safe while everything runs.

    Used are the datasets, the versions with their reports, what deployments route to, and what a job names that has not
    ended or may be resumed; with all members of a tree. Raises StorageFailed, Unavailable.
    """
    unused_since_s = now.timestamp() - grace_s
    with database.reading() as connection:
        used = set(_named_digests(connection, now))
        job_ids = set(connection.scalars(select(jobs.c.id)))
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
        for path in _leftovers(database.home, artifacts, job_ids):
            freed_bytes += _remove_if_older(path, unused_since_s)
    return GcResult(removed=removed, freed_bytes=freed_bytes, kept=kept)


def _named_digests(connection: Connection, now: datetime) -> Iterator[str]:
    for column in (dataset_versions.c.digest, model_versions.c.digest, model_versions.c.report):
        yield from connection.scalars(select(column).where(column.is_not(None)).distinct())
    yield from connection.scalars(select(deployment_routes.c.digest).where(deployment_routes.c.slot == "now").distinct())
    resumable = jobs.c.state.in_(("failed", "cancelled")) & (jobs.c.ended_at > now - RESUMABLE_FOR)
    for spec in connection.scalars(select(jobs.c.spec).where(or_(jobs.c.state.not_in(ENDED), resumable))):
        yield from _DIGEST_IN_TEXT.findall(msgspec.json.encode(spec).decode())


def _leftovers(home: Path, artifacts: ArtifactStore, job_ids: set[str]) -> Iterator[Path]:
    yield from artifacts.staging.iterdir()
    if (home / "jobs").is_dir():
        yield from (path for path in (home / "jobs").iterdir() if path.name not in job_ids)
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

"""Keeping a home in order, for all tenants: what nothing refers to is removed, and all of it is copied to one archive."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from typing import IO

from modeltap.control.datasets import UPLOADS
from modeltap.domain.job import JobKind
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.backup import write_backup
from modeltap.storage.database import Database
from modeltap.storage.gc import GcResult, collect, may_run
from modeltap.storage.jobs import JobQueue

GRACE_S = 3600.0
WITH_UPLOAD: tuple[JobKind, ...] = ("import", "batch")


class Upkeep:
    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database = database
        self._artifacts = artifacts

    def collect(self, grace_s: float = GRACE_S) -> GcResult:
        """Removes artifacts that nothing refers to and that are older than the grace period."""
        return collect(self._database, self._artifacts, datetime.now(UTC), grace_s)

    def sweep_uploads(self) -> None:
        """Remove uploads that no job may read any more, or whose server ended before it had made the job."""
        now = datetime.now(UTC)
        jobs = JobQueue(self._database).list(kinds=WITH_UPLOAD, limit=None)
        named = {job.spec.get("upload") for job in jobs if may_run(job, now)}
        uploads = self._database.home / UPLOADS
        if uploads.is_dir():
            for path in uploads.iterdir():
                if path.name not in named:
                    path.unlink(missing_ok=True)

    def backup(self) -> IO[bytes]:
        """A tar of the whole home, in a temporary file that is gone when closed."""
        archive = tempfile.TemporaryFile()  # noqa: SIM115  handed to whoever sends it
        write_backup(self._database, self._artifacts, archive)
        archive.seek(0)
        return archive

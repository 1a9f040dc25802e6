"""Keeping a home in order: what nothing refers to is removed, and all of it is copied to one archive."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from typing import IO

from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.backup import write_backup
from modeltap.storage.database import Database
from modeltap.storage.gc import GcResult, collect

GRACE_S = 3600.0


class Upkeep:
    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database = database
        self._artifacts = artifacts

    def collect(self, grace_s: float = GRACE_S) -> GcResult:
        """Removes artifacts that nothing refers to and that are older than the grace period."""
        return collect(self._database, self._artifacts, datetime.now(UTC), grace_s)

    def backup(self) -> IO[bytes]:
        """A tar of the whole home, in a temporary file that is gone when closed."""
        archive = tempfile.TemporaryFile()  # noqa: SIM115  handed to whoever sends it
        write_backup(self._database, self._artifacts, archive)
        archive.seek(0)
        return archive

"""Opens what a home keeps: its database, brought from any known revision to the newest (a copy first, then all migrations at
once), and its artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from modeltap.errors import ModeltapError
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.database import HEAD, Database, check_known, make_engine, read_revision
from modeltap.storage.disk import disk_failures

if TYPE_CHECKING:
    from alembic.config import Config

DATABASE_VARIABLE = "MODELTAP_DATABASE_URL"
"""How a runner learns which database is its server's; none is the file in the home."""
ARTIFACTS_VARIABLE = "MODELTAP_ARTIFACTS_URL"
CACHE_VARIABLE = "MODELTAP_ARTIFACTS_CACHE_BYTES"
"""How it learns where the artifacts are, and how many of them may lie on the disk; no URL is the home."""
DEFAULT_CACHE_BYTES = 20 * 1024**3
SERVER_PATIENCE_S = 10.0
JOB_PATIENCE_S = 60.0
"""How long an artifact is tried for: a caller waits for a server; a job has time, and is tried again later."""
MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(home: Path, url: str | None = None) -> Database:
    """The database of `home`, or the one at `url`, migrated to HEAD.

    A fresh one is created; an older SQLite file is copied to <home>/backups first.
    Raises DatabaseTooNew, StorageFailed (also for a damaged file), Unavailable while another process holds it.
    """
    with disk_failures("creating the home"):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(make_engine(home, url), home)
    try:
        revision = database.revision()
        check_known(revision)
        if revision != HEAD:
            upgrade(database)
    except ModeltapError:
        database.close()
        raise
    return database


def open_artifacts(home: Path, url: str | None, *, cache_bytes: int, is_job: bool = False) -> ArtifactStore:
    """The artifacts of the home, or those of a bucket with a cache in it. Raises InvalidInput for a URL that is none,
    StorageFailed. Whether the bucket can be reached shows when it is first asked."""
    folder = home / "artifacts"
    if url is None:
        return ArtifactStore(folder)
    from modeltap.storage.bucket import Bucket
    from modeltap.storage.cached_artifacts import CachedArtifacts

    bucket = Bucket(url, patience_s=JOB_PATIENCE_S if is_job else SERVER_PATIENCE_S)
    return CachedArtifacts(folder, bucket, limit_bytes=cache_bytes, keeps_used=is_job)


def open_job_artifacts(home: Path, environment: Mapping[str, str]) -> ArtifactStore:
    """Those of the server that started this process, by its environment."""
    cache_bytes = int(environment.get(CACHE_VARIABLE) or DEFAULT_CACHE_BYTES)
    return open_artifacts(home, environment.get(ARTIFACTS_VARIABLE) or None, cache_bytes=cache_bytes, is_job=True)


def upgrade(database: Database, *, target: str = HEAD) -> None:
    """Migrates to revision `target`, or changes nothing. An older SQLite file is copied to <home>/backups before.

    Raises DatabaseTooNew, StorageFailed, Unavailable.
    """
    from alembic import command

    with database.writing() as connection:  # the lock is held: of two servers that start, the second finds it done
        revision = read_revision(connection)
        check_known(revision)
        if revision == target:
            return
        if revision and database.file is not None:
            time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            database.copy_to(database.home / "backups" / f"modeltap-{revision}-{time}.db")
        command.upgrade(alembic_config(connection), target)


def alembic_config(connection: Connection | None = None) -> Config:
    """Where Alembic finds the migrations, and the connection they run on."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

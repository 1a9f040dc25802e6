"""Brings a database from any known revision to the newest: a copy first, then all migrations in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from modeltap.storage.database import HEAD, Database, check_known, read_revision

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(database: Database, *, target: str = HEAD) -> None:
    """Migrates to revision `target`, or changes nothing. An older SQLite file is copied to <home>/backups before.

    Raises DatabaseTooNew, StorageFailed, Unavailable.
    """
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
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

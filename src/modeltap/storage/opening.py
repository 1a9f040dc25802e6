"""Opens a home's database, brought from any known revision to the newest: a copy first, then all migrations at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from modeltap.errors import ModeltapError
from modeltap.storage.database import HEAD, Database, check_known, make_engine, read_revision
from modeltap.storage.disk import disk_failures

if TYPE_CHECKING:
    from alembic.config import Config

DATABASE_VARIABLE = "MODELTAP_DATABASE_URL"
"""How a runner learns which database is its server's; none is the file in the home."""
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

"""Opens the database at the revision this code knows, and runs transactions in it.

It does not import Alembic: where nothing is to migrate, a look at the version row is all.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from modeltap.errors import Conflict, DatabaseTooNew, ModeltapError, StorageFailed, Unavailable
from modeltap.storage.disk import disk_failures, sync_directory

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
HEAD = REVISIONS[-1]
FILE_NAME = "modeltap.db"
BUSY_TIMEOUT_S = 15.0

_BEGIN = "modeltap_begin"


class Database:
    """Transactions on one database. Threads may share it; a process that forks opens its own."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self.home = home
        self._engine = engine
        self._writing = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a database server."""
        path = self._engine.url.database
        return Path(path) if self._engine.dialect.name == "sqlite" and path else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view. Raises StorageFailed, Unavailable."""
        with database_failures(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its start; committed at the end, rolled back by any error.

        Raises StorageFailed, Unavailable.
        """
        with database_failures(), self._writing.begin() as connection:
            yield connection

    def connect_alone(self) -> Connection:
        """A connection outside the pool, whose statements are transactions of their own. Raises as the driver does."""
        connection = self._engine.execution_options(isolation_level="AUTOCOMMIT").connect()
        connection.detach()
        return connection

    def revision(self) -> str:
        """What the tables are at; '' for a fresh database. Raises StorageFailed for one that modeltap did not make."""
        with self.reading() as connection:
            return read_revision(connection)

    def copy_to(self, target: Path) -> None:
        """Writes a consistent copy of the SQLite file, whole or not at all. Raises Conflict for a database server."""
        if self.file is None:
            raise Conflict("a database server keeps its own backups; use its tools, for PostgreSQL pg_dump")
        part = target.with_name(f"{target.name}.part")
        try:
            with disk_failures("writing a backup"), database_failures():
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _copy_sqlite(self.file, part)
                part.rename(target)
                sync_directory(target.parent)
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None:
        self._engine.dispose()


def check_known(revision: str) -> None:
    """Raises DatabaseTooNew for a revision that is neither '' nor one of ours."""
    if revision and revision not in REVISIONS:
        raise DatabaseTooNew(
            f"the database is at revision '{revision}', and this modeltap knows revisions up to '{HEAD}'; install the"
            " version of modeltap that wrote it or a later one, or restore a backup made before the upgrade"
        )


def read_revision(connection: Connection) -> str:
    """The version row, '' where there are no tables. Raises StorageFailed for tables of something else."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        revisions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
        if len(revisions) == 1:
            return str(revisions[0])
    elif not tables:
        return ""
    raise StorageFailed("the database was not made by modeltap; choose another home")


@contextmanager
def database_failures() -> Iterator[None]:
    """Turns what the database raises in the block into Unavailable (locked), or StorageFailed (disk, damage)."""
    try:
        yield
    except IntegrityError as error:
        raise Unavailable("somebody else changed the same thing at the same time; try again") from error
    except DBAPIError as error:
        raise _failure(error.orig) from error
    except sqlite3.Error as error:  # of a connection that is being opened or copied
        raise _failure(error) from error


def _failure(cause: BaseException | None) -> ModeltapError:
    name = getattr(cause, "sqlite_errorname", "") or ""
    if type(cause).__name__ in ("LockNotAvailable", "DeadlockDetected", "SerializationFailure"):  # psycopg's
        return Unavailable("the database is busy; try again")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Unavailable("the database is busy; try again")
    if name.startswith("SQLITE_FULL"):
        return StorageFailed("the disk of the database is full; free some space ('modeltap gc') and try again")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StorageFailed("the database cannot be written; give the home to the user that runs modeltap")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StorageFailed(
            f"the database is damaged: {FILE_NAME} is not a readable SQLite file; restore it with 'modeltap restore',"
            " or put the newest file of the home's backups folder in its place"
        )
    return StorageFailed(f"the database refused: {cause}; check its disk, or restore a backup")


def make_engine(home: Path, url: str | None) -> Engine:
    """The engine of the file in `home`, or of the server at `url`. Raises StorageFailed."""
    try:
        parsed = make_url(url) if url else make_url("sqlite://").set(database=str(home / FILE_NAME))
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database in (None, "", ":memory:"):
            raise ArgumentError("not a file")
        waits: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S} if sqlite else {}
        if parsed.get_backend_name() == "postgresql" and "options" not in parsed.query:
            waits = {"options": f"-c lock_timeout={int(BUSY_TIMEOUT_S * 1000)}"}  # a frozen process keeps nobody for ever
        arguments: dict[str, Any] = {"connect_args": waits}
        engine = create_engine(parsed, pool_size=8, max_overflow=56, pool_pre_ping=not sqlite, **arguments)
    except (ArgumentError, ImportError) as error:
        raise StorageFailed("the database URL names no database that this installation can open") from error
    if sqlite:
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, see _on_begin
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def _copy_sqlite(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    handle = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        reader = sqlite3.connect(source, timeout=BUSY_TIMEOUT_S)
        writer = sqlite3.connect(target)
        try:
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode=DELETE")  # one file that needs nothing beside it
        finally:
            writer.close()
            reader.close()
        os.fsync(handle)
    finally:
        os.close(handle)

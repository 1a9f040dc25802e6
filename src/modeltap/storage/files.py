"""The files of OpenAI's protocol by id; the one place that maps their rows. Their bytes are artifacts."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, insert, literal, or_, select

from modeltap.domain.stored_file import Purpose, StoredFile
from modeltap.errors import NotFound
from modeltap.storage.database import Database
from modeltap.storage.tables import UtcTime, stored_files

Order = Literal["asc", "desc"]


class FileRepository:
    """The files of one tenant; what has expired is not there. Every method is one transaction."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    def add(
        self,
        *,
        key: str,
        purpose: Purpose,
        filename: str,
        size_bytes: int,
        digest: str,
        now: datetime,
        expires_at: datetime | None = None,
        made_by: str | None = None,
    ) -> StoredFile:
        """The new file. Of what a job makes there is one, by `made_by`: the same bytes again are the same file, others take
        its place."""
        file = StoredFile(
            id=new_file_id(),
            tenant=self._tenant,
            key=key,
            purpose=purpose,
            filename=filename,
            size_bytes=size_bytes,
            digest=digest,
            made_by=made_by,
            created_at=now,
            expires_at=expires_at,
        )
        with self._database.writing() as connection:
            if made_by is not None:
                known = _first(connection, self._own & (stored_files.c.made_by == made_by))
                if known is not None and known.digest == digest:
                    return known
                connection.execute(delete(stored_files).where(self._own, stored_files.c.made_by == made_by))
            connection.execute(insert(stored_files).values(**msgspec.structs.asdict(file)))
        return file

    def get(self, file_id: str, now: datetime) -> StoredFile:
        """Raises NotFound."""
        with self._database.reading() as connection:
            found = _first(connection, self._own & _lives(now) & (stored_files.c.id == file_id))
        if found is None:
            raise no_file(file_id)
        return found

    def made_by(self, names: Collection[str], now: datetime) -> dict[str, StoredFile]:
        """What jobs made, as far as it is there, by its `made_by`."""
        query = select(stored_files).where(self._own, _lives(now), stored_files.c.made_by.in_(sorted(names)))
        with self._database.reading() as connection:
            return {row.made_by: _file(row) for row in connection.execute(query)}

    def page(
        self,
        now: datetime,
        *,
        purposes: Collection[Purpose],
        key: str | None = None,
        after: StoredFile | None = None,
        order: Order = "desc",
        limit: int = 100,
    ) -> tuple[StoredFile, ...]:
        """Those with one of these purposes, of that key or of all, by their time; those that follow `after`."""
        columns = stored_files.c
        query = select(stored_files).where(self._own, _lives(now), columns.purpose.in_(sorted(purposes)))
        if key is not None:
            query = query.where(columns.key == key)
        is_up = order == "asc"
        if after is not None:
            at = literal(after.created_at, UtcTime())
            same = columns.created_at == at
            follows = columns.id > after.id if is_up else columns.id < after.id
            beyond = columns.created_at > at if is_up else columns.created_at < at
            query = query.where(beyond | (same & follows))
        by = (columns.created_at, columns.id) if is_up else (columns.created_at.desc(), columns.id.desc())
        with self._database.reading() as connection:
            return tuple(map(_file, connection.execute(query.order_by(*by).limit(limit))))

    def remove(self, file_id: str) -> None:
        """Its bytes go with the next gc, unless something else has the same. Raises NotFound."""
        with self._database.writing() as connection:
            gone = connection.execute(delete(stored_files).where(self._own, stored_files.c.id == file_id))
            if gone.rowcount == 0:
                raise no_file(file_id)

    @property
    def _own(self) -> ColumnElement[bool]:
        return stored_files.c.tenant == self._tenant


def drop_expired(database: Database, now: datetime) -> None:
    """Forgets the files of all tenants whose time is over."""
    with database.writing() as connection:
        connection.execute(delete(stored_files).where(stored_files.c.expires_at <= literal(now, UtcTime())))


def no_file(file_id: str) -> NotFound:
    return NotFound(f"there is no file '{file_id[:80]}'; GET /v1/files lists yours")


def new_file_id() -> str:
    """`file-` and 20 letters or digits, 100 random bits."""
    return "file-" + base64.b32encode(secrets.token_bytes(13))[:20].decode().lower()


def _lives(now: datetime) -> ColumnElement[bool]:
    return or_(stored_files.c.expires_at.is_(None), stored_files.c.expires_at > literal(now, UtcTime()))


def _first(connection: Connection, chosen: ColumnElement[bool]) -> StoredFile | None:
    row = connection.execute(select(stored_files).where(chosen)).first()
    return None if row is None else _file(row)


def _file(row: Row[Any]) -> StoredFile:
    return StoredFile(**row._mapping)

"""From segments into the database, each frame exactly once: its rows and the offset behind it are written in one transaction.

Several processes may do it at once; whoever finds that the offset has moved lets the other go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import astuple
from sqlalchemy import Connection, Table, bindparam, delete, select, update

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.usage import UsageRecord
from modeltap.errors import StorageFailed
from modeltap.storage.database import Database
from modeltap.storage.disk import disk_failures
from modeltap.storage.segments import SegmentFile, forget_lock, is_alive, locked_writers, segment_files
from modeltap.storage.segments_frames import (
    FORMAT,
    Answered,
    Close,
    Delivered,
    Frame,
    Head,
    Reserve,
    Settle,
    Void,
    each_frame,
)
from modeltap.storage.usage_tables import (
    idempotent_answers,
    usage_open,
    usage_records,
    usage_segments,
    usage_writers,
)

CHUNK_BYTES = 4 << 20
MAX_VARIABLES = 960
"""Of one statement; some SQLite has no more than 999."""
ANSWER_KEPT_S = 24 * 3600.0
"""An answer is repeated for so long after its request was accepted."""


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    num_records: int = 0
    num_segments_removed: int = 0


def ingest(database: Database, folder: Path, now_s: float) -> Ingested:
    """Reads on in every segment of the folder. A file that is read and will not grow is removed.

    Raises StorageFailed, also for a file of a newer format; Unavailable.
    """
    with disk_failures("reading the usage folder"):
        files = segment_files(folder)
    total = Ingested()
    for writer in sorted({file.writer for file in files}):
        total = _sum(total, _ingest_writer(database, [file for file in files if file.writer == writer], now_s, is_dead=False))
    with database.reading() as connection:
        expired = connection.scalar(
            select(idempotent_answers.c.tenant).where(idempotent_answers.c.expires_at_s <= now_s).limit(1)
        )
    if expired is not None:
        with database.writing() as connection:
            connection.execute(delete(idempotent_answers).where(idempotent_answers.c.expires_at_s <= now_s))
    return total


def close_writer(database: Database, folder: Path, writer: str, now_s: float) -> Ingested:
    """Reads the rest of a writer whose process is dead. What it had accepted and not ended is voided, what has no mark of
    delivery stays unknown, and its files are removed. May be called again. Raises StorageFailed, Unavailable."""
    with disk_failures("reading the usage folder"):
        files = [file for file in segment_files(folder) if file.writer == writer]
    done = _ingest_writer(database, files, now_s, is_dead=True)
    with database.writing() as connection:
        _know(connection, writer)
        _close(connection, writer, now_s)
    with disk_failures("removing usage segments"):
        for staged in folder.glob(f"{writer}-*.new"):
            staged.unlink(missing_ok=True)
    forget_lock(folder, writer)
    return done


def close_dead_writers(database: Database, folder: Path, now_s: float) -> list[str]:
    """Closes every writer of the folder whose process is gone; which they were. Raises StorageFailed, Unavailable."""
    with disk_failures("reading the usage folder"):
        writers = {file.writer for file in segment_files(folder)}
        locked = set(locked_writers(folder)) - writers
    if locked:  # of those without a file some begin just now; nothing was read of them
        with database.reading() as connection:
            writers |= locked & set(connection.scalars(select(usage_writers.c.writer)))
    dead = [writer for writer in sorted(writers) if not is_alive(folder, writer)]
    for writer in dead:
        close_writer(database, folder, writer, now_s)
    return dead


def unread_bytes(database: Database, folder: Path) -> int:
    """What lies in the segments behind the offsets that were read. Raises StorageFailed, Unavailable."""
    with disk_failures("reading the usage folder"):
        files = segment_files(folder)
    unread = 0
    for file in files:
        offset, _ = _read_up_to(database, file)
        with suppress(FileNotFoundError):
            unread += max(0, file.path.stat().st_size - offset)
    return unread


def _sum(one: Ingested, other: Ingested) -> Ingested:
    return Ingested(
        num_records=one.num_records + other.num_records,
        num_segments_removed=one.num_segments_removed + other.num_segments_removed,
    )


def _ingest_writer(database: Database, files: Sequence[SegmentFile], now_s: float, *, is_dead: bool) -> Ingested:
    """Reads on in these files of one writer, in their order, until there is no whole frame any more."""
    num_records = num_removed = 0
    for file in files:
        offset, is_done = _read_up_to(database, file)
        while not is_done:
            with disk_failures("reading a usage segment"):
                batch, taken, left = _read_batch(file, offset)
            is_dead = is_dead or batch.is_closed
            will_grow = file is files[-1] and not is_dead
            is_done = not will_grow and not (taken and left)
            if not taken and not is_done:
                break
            stored = _store(database, file, batch, offset, offset + taken, now_s, lost=left if is_done else None)
            if stored is None:
                offset, is_done = _read_up_to(database, file)
            else:
                num_records += stored
                offset += taken
        if is_done:
            with disk_failures("removing a usage segment"):
                file.path.unlink(missing_ok=True)
            num_removed += 1
    return Ingested(num_records=num_records, num_segments_removed=num_removed)


def _read_up_to(database: Database, file: SegmentFile) -> tuple[int, bool]:
    with database.reading() as connection:
        columns = usage_segments.c.offset_bytes, usage_segments.c.is_done
        row = connection.execute(
            select(*columns).where(*_is(usage_segments, file.writer), usage_segments.c.index == file.index)
        )
        found = row.first()
    return (0, False) if found is None else (found[0], found[1])


def _read_batch(file: SegmentFile, offset: int) -> tuple[_Batch, int, int]:
    """What some whole frames from there on come to, the bytes that they take, and how many follow. None: what follows is not
    whole."""
    batch = _Batch(file)
    try:
        handle = os.open(file.path, os.O_RDONLY)
    except FileNotFoundError:
        return batch, 0, 0
    try:
        size = os.fstat(handle).st_size
        length = CHUNK_BYTES
        while True:
            data = os.pread(handle, length, offset)
            taken = each_frame(data, batch.add)
            if taken or offset + len(data) >= size:
                return batch, taken, max(0, size - offset - taken)
            length *= 2
    finally:
        os.close(handle)


def _store(
    database: Database, file: SegmentFile, batch: _Batch, old: int, new: int, now_s: float, *, lost: int | None
) -> int | None:
    """Number of records that were written; None, and none is, if another process was first.

    `lost`: the segment is done, and so many bytes behind its last whole frame are no frames.
    """
    rows = batch.rows()
    at = (*_is(usage_segments, file.writer), usage_segments.c.index == file.index)
    with database.writing() as connection:
        _know(connection, file.writer)
        if not old:
            _insert(
                connection,
                usage_segments,
                [(file.writer, file.index, 0, False, 0)],
                conflict="DO NOTHING",
            )
        moved = connection.execute(
            update(usage_segments)
            .where(*at, usage_segments.c.offset_bytes == old, usage_segments.c.is_done.is_(False))
            .values(offset_bytes=new, is_done=lost is not None, lost_bytes=lost or 0)
        )
        if moved.rowcount != 1:
            return None
        _insert(connection, usage_records, rows)
        batch.write_others(connection)
        known = update(usage_writers).where(*_is(usage_writers, file.writer), usage_writers.c.last_number < batch.last_number)
        connection.execute(known.values(last_number=batch.last_number))
        if batch.is_closed:
            _close(connection, file.writer, now_s)
    return len(rows)


class _Batch:
    """What the frames of one chunk come to. No frame is kept: a chunk has a hundred thousand."""

    def __init__(self, file: SegmentFile) -> None:
        self.writer = file.writer
        self.opened: dict[int, Reserve] = {}
        self.records: dict[int, UsageRecord] = {}
        self.answers: list[tuple[UsageRecord, StoredAnswer]] = []
        self.delivered: set[int] = set()
        self.ended_before: list[int] = []
        """Opened by an earlier chunk, ended by this one."""
        self.delivered_before: list[int] = []
        self.voided_before: list[int] = []
        self.last_number = 0
        self.is_closed = False

    def add(self, frame: Frame) -> None:
        """Raises StorageFailed for the head of a format or writer that is not this one's."""
        if type(frame) is Answered:
            record = frame.record
            number = record.number
            self.records[number] = record
            if number > self.last_number:
                self.last_number = number
            if frame.answer is not None:
                self.answers.append((record, frame.answer))
        elif type(frame) is Reserve:
            self.opened[frame.number] = frame
            if frame.number > self.last_number:
                self.last_number = frame.number
        elif type(frame) is Settle:
            record = frame.record
            number = record.number
            self.records[number] = record
            if self.opened.pop(number, None) is None:
                self.ended_before.append(number)
            if frame.answer is not None:
                self.answers.append((record, frame.answer))
        elif type(frame) is Delivered:
            for number in frame.numbers:
                if number in self.records:
                    self.delivered.add(number)
                else:
                    self.delivered_before.append(number)
        elif type(frame) is Void:
            self._void(frame.numbers)
        elif type(frame) is Close:
            self.is_closed = True
        elif type(frame) is Head and (frame.format != FORMAT or frame.writer != self.writer):
            raise StorageFailed(
                f"a usage segment of '{self.writer}' has format {frame.format} of '{frame.writer}', and this modeltap reads"
                f" format {FORMAT}; use the version that wrote it, or move the file out of the usage folder"
            )

    def _void(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            record, reserve = self.records.get(number), self.opened.pop(number, None)
            if record is not None:
                self.records[number] = voided(record)
                self.answers = [(of, answer) for of, answer in self.answers if of.number != number]
            elif reserve is not None:
                self.records[number] = voided_reserve(self.writer, reserve)
            else:
                self.voided_before.append(number)

    def rows(self) -> list[tuple[Any, ...]]:
        """Of the records, in the order of the table's columns."""
        delivered = self.delivered
        return [
            (*astuple(record)[:-1], "delivered") if number in delivered else astuple(record)
            for number, record in self.records.items()
        ]

    def write_others(self, connection: Connection) -> None:
        """All but the records, after what earlier chunks wrote."""
        _insert(connection, usage_open, [(self.writer, *astuple(frame)) for frame in self.opened.values()])
        _insert(
            connection,
            idempotent_answers,
            [
                (record.tenant, record.key, *astuple(answer), record.accepted_at_s + ANSWER_KEPT_S)
                for record, answer in self.answers
            ],
            conflict="DO NOTHING",
        )
        if self.ended_before:
            at = (*_is(usage_open, self.writer), usage_open.c.number == bindparam("ended"))
            connection.execute(delete(usage_open).where(*at), [{"ended": number} for number in self.ended_before])
        if self.delivered_before:
            of = (*_is(usage_records, self.writer), usage_records.c.number == bindparam("marked"))
            marks = [{"marked": number} for number in self.delivered_before]
            connection.execute(update(usage_records).where(*of).values(delivery="delivered"), marks)
        if self.voided_before:
            _void_open(connection, self.writer, self.voided_before)
            of = (*_is(usage_records, self.writer), usage_records.c.number.in_(self.voided_before))
            connection.execute(
                update(usage_records).where(*of).values(status="voided", code="", units=0, cost_nano=0, delivery="none")
            )


def voided(record: UsageRecord) -> UsageRecord:
    """The same request, without answer and charge."""
    return msgspec.structs.replace(record, units=0, cost_nano=0, status="voided", code="", delivery="none")


def voided_reserve(writer: str, reserve: Reserve) -> UsageRecord:
    """The record of a request that was accepted and had no end."""
    return UsageRecord(
        writer=writer,
        number=reserve.number,
        request_id=reserve.request_id,
        tenant=reserve.tenant,
        key=reserve.key,
        deployment=reserve.deployment,
        model="",
        unit=reserve.unit,
        units=0,
        cost_nano=0,
        accepted_at_s=reserve.accepted_at_s,
        queue_us=0,
        compute_us=0,
        status="voided",
        code="",
        delivery="none",
    )


def _void_open(connection: Connection, writer: str, numbers: Sequence[int] | None) -> None:
    """Open requests of the writer become voided records; None is all of them."""
    chosen = _is(usage_open, writer) if numbers is None else (*_is(usage_open, writer), usage_open.c.number.in_(numbers))
    found = connection.execute(select(usage_open).where(*chosen)).all()
    records = [voided_reserve(writer, Reserve(*row[1:])) for row in found]
    _insert(connection, usage_records, [astuple(record) for record in records])
    if found:
        connection.execute(delete(usage_open).where(*chosen))


def _close(connection: Connection, writer: str, now_s: float) -> None:
    _void_open(connection, writer, None)
    still_open = (*_is(usage_writers, writer), usage_writers.c.closed_at_s.is_(None))
    connection.execute(update(usage_writers).where(*still_open).values(closed_at_s=now_s))


def _know(connection: Connection, writer: str) -> None:
    _insert(connection, usage_writers, [(writer, 0, None)], conflict="DO NOTHING")


def _is(table: Table, writer: str) -> tuple[Any, ...]:
    return (table.c.writer == writer,)


def _insert(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]], *, conflict: str = "") -> None:
    """Rows in the order of the columns, straight to the driver: building a statement a row would cost more than the row, and
    so would running one a row."""
    num_columns = len(table.columns)
    at_once = MAX_VARIABLES // num_columns
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    marks = f"({', '.join([mark] * num_columns)})"
    tail = f" ON CONFLICT {conflict}" if conflict else ""
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        statement = f"INSERT INTO {table.name} ({names}) VALUES {', '.join([marks] * len(some))}{tail}"  # noqa: S608
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(some)))

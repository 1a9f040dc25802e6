"""Whether the segments that are still there say what the database says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from modeltap.domain.usage import UsageRecord
from modeltap.storage.database import Database
from modeltap.storage.disk import disk_failures
from modeltap.storage.segments import SegmentFile, segment_files
from modeltap.storage.segments_frames import Answered, Delivered, Reserve, Settle, Void, parse_frames
from modeltap.storage.usage_tables import usage_open, usage_records, usage_segments

PAGE_NUMBERS = 500


def differences(database: Database, folder: Path) -> Iterator[tuple[str, str]]:
    """(writer, what differs) for every request of which a file and the database do not say the same.

    Compared is what was read in already. Raises StorageFailed, Unavailable.
    """
    with disk_failures("reading the usage folder"):
        files = segment_files(folder)
    for writer, of_writer in groupby(files, key=lambda file: file.writer):
        with database.reading() as connection:
            keep_one_view(connection)
            yield from _writer_differences(connection, writer, list(of_writer))


def keep_one_view(connection: Connection) -> None:
    """All statements of the transaction, of which none was run yet, see the same state. In SQLite they do anyway."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _writer_differences(connection: Connection, writer: str, files: list[SegmentFile]) -> Iterator[tuple[str, str]]:
    query = select(usage_segments.c.index, usage_segments.c.offset_bytes).where(usage_segments.c.writer == writer)
    read_up_to = {row["index"]: row["offset_bytes"] for row in connection.execute(query).mappings()}
    reserved: set[int] = set()
    ended: dict[int, UsageRecord] = {}
    marked: set[int] = set()
    gone: set[int] = set()
    for file in files:
        with disk_failures("reading a usage segment"):
            try:
                data = file.path.read_bytes()[: read_up_to.get(file.index, 0)]
            except FileNotFoundError:
                continue
        frames, taken = parse_frames(data)
        if taken != len(data):
            yield writer, f"segment {file.index} was read up to {len(data):,} bytes, and is whole only up to {taken:,}"
        for frame in frames:
            if isinstance(frame, Reserve):
                reserved.add(frame.number)
            elif isinstance(frame, Settle | Answered):
                ended[frame.record.number] = frame.record
            elif isinstance(frame, Delivered):
                marked.update(frame.numbers)
            elif isinstance(frame, Void):
                gone.update(frame.numbers)
    numbers = sorted(reserved | set(ended) | marked | gone)
    for start in range(0, len(numbers), PAGE_NUMBERS):
        page = numbers[start : start + PAGE_NUMBERS]
        of = usage_records.c.writer == writer, usage_records.c.number.in_(page)
        stored = {row.number: UsageRecord(*row) for row in connection.execute(select(usage_records).where(*of))}
        at = usage_open.c.writer == writer, usage_open.c.number.in_(page)
        still_open = set(connection.scalars(select(usage_open.c.number).where(*at)))
        for number in page:
            told = _difference(number, stored.get(number), number in still_open, ended.get(number), marked, gone)
            if told:
                yield writer, told


def _difference(
    number: int, stored: UsageRecord | None, is_open: bool, in_file: UsageRecord | None, marked: set[int], gone: set[int]
) -> str | None:
    """Of one request; None if both say the same."""
    if stored is None:
        if is_open and in_file is None and number not in gone:
            return None
        return f"request {number} {'has ended in its file' if in_file else 'is in its file'}, and has no record"
    if is_open:
        return f"request {number} has a record, and is open too"
    if number in gone:
        return None if stored.status == "voided" else f"request {number} was voided in its file, and is {stored.status}"
    wanted = in_file
    if wanted is not None and number in marked:
        wanted = msgspec.structs.replace(wanted, delivery="delivered")
    elif wanted is not None and stored.delivery == "delivered":
        return f"request {number} is marked as delivered, and its file does not say so"
    if wanted is None:
        if number in marked and stored.delivery != "delivered":
            return f"request {number} was delivered by its file, and is marked as {stored.delivery}"
        return None
    differing = [name for name in wanted.__struct_fields__ if getattr(wanted, name) != getattr(stored, name)]
    if differing:
        name = differing[0]
        return f"request {number}: {name} is {getattr(wanted, name)} in its file, and {getattr(stored, name)} in the database"
    return None

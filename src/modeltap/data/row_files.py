"""A file of rows → each row as JSON, as a request would bring it, one by one however many there are.

Rows are read by the rules of the plain dialect, not as a dataset's: what a cell means, the server alone decides. A row that
cannot be sent at all comes with the reason instead, so that it keeps its place among the others.
"""

from __future__ import annotations

import base64
import csv
import io
import mmap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import msgspec

from modeltap.data.read_encoding import find_encoding, open_text
from modeltap.data.read_layout import PICTURE_ENDINGS
from modeltap.data.read_members import Member, file_member, gunzipped, zip_members
from modeltap.data.read_parquet import INDEX_COLUMNS, check_parquet
from modeltap.data.rows import RowReader
from modeltap.data.source import ReadOptions
from modeltap.data.wire_csv import SAMPLE_CHARS, CsvForm
from modeltap.domain.dataset import Schema
from modeltap.errors import InvalidData, InvalidValue

FileKind = Literal["csv", "json-lines", "json", "parquet", "pictures"]
ENDINGS: dict[str, FileKind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".data": "csv",
    ".jsonl": "json-lines",
    ".ndjson": "json-lines",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".zip": "pictures",
}
PACKED: tuple[FileKind, ...] = ("csv", "json-lines", "json")
ALLOWED = "CSV, TSV, JSON Lines, JSON (also .gz of them), Parquet, and a .zip with pictures"
MAX_CELL_CHARS = 1 << 26
"""Of a CSV file: a cell may hold a whole picture in base64."""
COUNTED_BYTES = 4 << 20
SLICE_CELLS = 1 << 20
"""Of a Parquet file that are in memory at a time."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about a file before its first row was read; with it the same rows come every time."""

    kind: FileKind
    schema: Schema
    form: CsvForm | None = None
    """Of a CSV file."""


class FileRow(NamedTuple):
    """`body` is JSON, or empty where `error` says why the row cannot be sent. `name` is that of a picture's file."""

    body: bytes
    error: str = ""
    name: str = ""


@dataclass(frozen=True)
class RowFile:
    """An open file. `read(n)` gives its rows without the first n; `num_rows` is None where counting them takes as long as
    reading; `fraction` says how much of the file was read, as far as that is known."""

    read: Callable[[int], Iterator[FileRow]]
    num_rows: int | None = None
    fraction: Callable[[], float | None] = lambda: None


def kind_of(filename: str) -> FileKind:
    """By the name's ending. Raises InvalidData for one that is not read here."""
    name = filename.lower()
    plain = name.removesuffix(".gz")
    kind = ENDINGS.get(Path(plain).suffix)
    if kind is None or (plain != name and kind not in PACKED):
        raise InvalidData(f"'{filename[:80]}' is of a kind that is not read here; allowed: {ALLOWED}")
    return kind


def plan_reading(path: Path, filename: str, schema: Schema) -> Reading:
    """How the file is read for a model of this schema. Raises InvalidData for what is no such file."""
    kind = kind_of(filename)
    single = RowReader(schema).single
    if kind == "pictures" and (single is None or single.kind != "image"):
        raise InvalidData("the model takes no pictures; send its rows as CSV, JSON Lines or Parquet")
    if kind != "csv":
        return Reading(kind=kind, schema=schema)
    member = _member(path, filename, ReadOptions())
    with open_text(member, find_encoding(member)) as stream, _long_cells():
        begin = stream.read(SAMPLE_CHARS + 1)
    try:
        return Reading(kind=kind, schema=schema, form=RowReader(schema).csv_form(begin))
    except InvalidValue as problem:
        raise InvalidData(f"'{filename}': {problem.message}") from None


@contextmanager
def open_rows(path: Path, filename: str, reading: Reading) -> Iterator[RowFile]:
    """The rows of the file while the context is open. Raises InvalidData for a file that is broken, also while it is read."""
    options = ReadOptions()
    with ExitStack() as opened:
        match reading.kind:
            case "csv":
                opened.enter_context(_long_cells())
                yield _csv_file(path, filename, reading)
            case "json-lines":
                yield _lines_file(path, filename)
            case "json":
                yield _json_file(opened, path, filename, reading.schema)
            case "parquet":
                yield _parquet_file(path, filename, options)
            case "pictures":
                members = opened.enter_context(zip_members(path, filename, options))
                yield _pictures([member for member in members if member.name.lower().endswith(PICTURE_ENDINGS)], filename)


def _csv_file(path: Path, filename: str, reading: Reading) -> RowFile:
    form, reader = reading.form, RowReader(reading.schema)
    assert form is not None
    progress = _Progress(path)
    member = progress.watched(filename)
    encoding = find_encoding(member)

    def read(skipped: int) -> Iterator[FileRow]:
        with open_text(member, encoding) as stream:
            try:
                for record in islice(reader.csv_records(stream, form), skipped, None):
                    try:
                        row = reader.csv_row(record, form)
                    except InvalidValue as problem:
                        yield FileRow(b"", problem.message)
                    else:
                        yield FileRow(msgspec.json.encode(row, enc_hook=_plain))
            except InvalidValue as problem:
                raise InvalidData(f"'{filename}', {problem.message}") from None

    def count() -> int:
        with open_text(member, encoding) as stream:
            return sum(1 for _ in reader.csv_records(stream, form))

    return progress.rows(read, count)


def _lines_file(path: Path, filename: str) -> RowFile:
    progress = _Progress(path)
    member = progress.watched(filename)
    encoding = find_encoding(member)

    def count() -> int:
        with open_text(member, encoding) as stream:
            return sum(1 for line in stream if line.strip())

    def read(skipped: int) -> Iterator[FileRow]:
        with open_text(member, encoding) as stream:
            lines = ((number, line.strip()) for number, line in enumerate(stream, start=1))
            for number, line in islice((pair for pair in lines if pair[1]), skipped, None):
                problem = _not_json(line)
                yield FileRow(b"", f"line {number} is not JSON: {problem}") if problem else FileRow(line.encode())

    return progress.rows(read, count)


def _json_file(opened: ExitStack, path: Path, filename: str, schema: Schema) -> RowFile:
    """An array of rows, {"instances": [row, …]}, or one row; else a row a line."""
    member = _member(path, filename, ReadOptions())
    text = _utf8(opened, member, find_encoding(member).name)
    try:
        if bytes(text[:4096]).lstrip().startswith(b"["):
            rows = msgspec.json.decode(text, type=list[msgspec.Raw])
        else:
            found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            rows = [msgspec.Raw(bytes(text))]
            if "instances" in found and schema.column("instances") is None:
                rows = msgspec.json.decode(found["instances"], type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        if bytes(text[:4096]).lstrip().startswith(b"{"):
            return _lines_file(path, filename)
        raise InvalidData(f"'{filename}' is not JSON: {problem}") from None
    if not rows:
        raise InvalidData(f"'{filename}' holds no rows")
    return RowFile(lambda skipped: (FileRow(bytes(row)) for row in islice(rows, skipped, None)), len(rows))


def _parquet_file(path: Path, filename: str, options: ReadOptions) -> RowFile:
    import polars as pl

    check_parquet(path, filename, options)
    try:
        table = pl.scan_parquet(path)
        names = [name for name in table.collect_schema().names() if name not in INDEX_COLUMNS]
        num_rows: int = table.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError):
        raise InvalidData(f"'{filename}' is not a complete Parquet file; it breaks off or is damaged") from None
    if not num_rows or not names:
        raise InvalidData(f"'{filename}' holds no rows")
    step = max(1, SLICE_CELLS // len(names))

    def read(skipped: int) -> Iterator[FileRow]:
        for start in range(skipped, num_rows, step):
            for row in table.select(names).slice(start, step).collect().iter_rows(named=True):
                yield FileRow(msgspec.json.encode(row, enc_hook=_plain))

    return RowFile(read, num_rows)


def _pictures(members: list[Member], filename: str) -> RowFile:
    if not members:
        raise InvalidData(f"'{filename}' holds no pictures ({', '.join(PICTURE_ENDINGS)}); allowed: {ALLOWED}")

    def read(skipped: int) -> Iterator[FileRow]:
        for member in islice(members, skipped, None):
            try:
                content = member.read()
            except InvalidData as problem:
                yield FileRow(b"", problem.message, member.name)
            else:
                yield FileRow(b'"%s"' % base64.b64encode(content), name=member.name)

    return RowFile(read, len(members))


class _Progress:
    """How much of a file was read by whoever opened it last; of a packed one, of its packed bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size_bytes = max(1, path.stat().st_size)
        self._stream: _Counted | None = None

    def watched(self, filename: str) -> Member:
        return _unpacked(replace(file_member(self._path, filename), open=self._open, path=None), ReadOptions())

    def rows(self, read: Callable[[int], Iterator[FileRow]], count: Callable[[], int]) -> RowFile:
        """The rows are counted before where that takes no time; of a long file its bytes say well enough how far it is read."""
        num_rows = None
        if self._size_bytes <= COUNTED_BYTES:
            with suppress(InvalidValue, InvalidData):
                num_rows = count()
        return RowFile(read, num_rows, self._fraction)

    def _fraction(self) -> float:
        return 0.0 if self._stream is None else min(1.0, self._stream.num_bytes / self._size_bytes)

    def _open(self) -> IO[bytes]:
        self._stream = _Counted(self._path.open("rb", buffering=0))
        return io.BufferedReader(self._stream, 1 << 16)


class _Counted(io.RawIOBase):
    def __init__(self, stream: io.FileIO) -> None:
        self._stream = stream
        self.num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._stream.readinto(buffer) or 0
        self.num_bytes += count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def _member(path: Path, filename: str, options: ReadOptions) -> Member:
    return _unpacked(file_member(path, filename), options)


def _unpacked(member: Member, options: ReadOptions) -> Member:
    return gunzipped(member, options) if member.name.lower().endswith(".gz") else member


def _utf8(opened: ExitStack, member: Member, encoding: str) -> bytes | memoryview:
    """The whole file in UTF-8, mapped where it lies so on the disk."""
    if encoding in ("utf-8", "utf-8-sig") and member.path is not None:
        mapped = mmap.mmap(opened.enter_context(member.path.open("rb")).fileno(), 0, access=mmap.ACCESS_READ)
        return memoryview(mapped)[3 if encoding == "utf-8-sig" else 0 :]
    return member.read().decode(encoding).encode()


def _not_json(line: str) -> str:
    """Why the line is no JSON; empty if it is."""
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError as problem:
        hint = "; NaN and Infinity are not JSON, send null for a missing value"
        return str(problem).replace("`", "") + (hint if "NaN" in line or "Infinity" in line else "")
    except (UnicodeError, RecursionError):
        return "it holds half of a character, or is nested too deeply"
    return ""


def _plain(value: Any) -> Any:
    """Arrays as nested lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise InvalidData(f"a value of type {type(value).__name__} cannot be sent; give numbers, texts and lists")


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(MAX_CELL_CHARS)
    try:
        yield
    finally:
        csv.field_size_limit(before)

"""CSV and TSV files → a table of raw strings. Python's csv module cuts the cells, as it alone tells the line of a record."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from modeltap.data.read_dialect import NO_DELIMITER, Dialect, sample_records, sniff_dialect, usual_width
from modeltap.data.read_encoding import Encoding, find_encoding, open_text
from modeltap.data.read_header import has_header, unique_names
from modeltap.data.read_members import Member
from modeltap.data.source import PartRows, ReadOptions, Source
from modeltap.data.wording import counted
from modeltap.errors import InvalidData

if TYPE_CHECKING:
    import polars as pl

SAMPLE_CHARS = 1 << 18
MAX_COLUMNS = 16_384
MAX_CELL_CHARS = 1 << 24
CHUNK_CELLS = 1 << 20
MAX_LINES_NAMED = 10
_END = "\x00end"


def read_csv(member: Member, options: ReadOptions, *, like: Sequence[str] = ()) -> Source:
    """The file as a table of strings, cells as they stand there; blank lines are skipped.

    `like` are the columns of another part: a first record that repeats them is a header, and without one they are the
    names. Raises InvalidData naming the lines whose number of cells differs, a quote that is never closed, or no rows.
    """
    previous_limit = csv.field_size_limit(MAX_CELL_CHARS)
    try:
        return _read_csv(member, options, like)
    finally:
        csv.field_size_limit(previous_limit)


def _read_csv(member: Member, options: ReadOptions, like: Sequence[str]) -> Source:
    encoding = find_encoding(member, given=options.encoding)
    with open_text(member, encoding) as stream:
        sample = stream.read(SAMPLE_CHARS)
    complete = len(sample) < SAMPLE_CHARS
    prefers_tab = member.name.lower().endswith((".tsv", ".tab"))
    _check_delimiter(options.delimiter)
    dialect = sniff_dialect(sample, complete=complete, delimiter=options.delimiter, prefers_tab=prefers_tab)
    records = sample_records(sample, dialect, complete=complete)
    if not records:
        raise InvalidData(f"'{member.name}' holds no rows")
    width = usual_width(records)
    if width > MAX_COLUMNS:
        raise InvalidData(f"'{member.name}' has {width:,} columns; at most {MAX_COLUMNS:,} are read")
    header = _decide_header(records, options, like)
    names, notices = _names(records[0], options, like, header=header, width=width, file=member.name)
    table, more = _read_table(member, encoding, dialect, names=names, header=header)
    return Source("table", names, {"rows": PartRows(table)}, (*encoding.notices, *notices, *more))


def _check_delimiter(delimiter: str | None) -> None:
    if delimiter is not None and (len(delimiter) != 1 or delimiter in "\r\n\"'" or delimiter.isalnum()):
        raise InvalidData(f"{delimiter!r} cannot be a delimiter; give one character, such as , ; | or a tab")


def _decide_header(records: list[list[str]], options: ReadOptions, like: Sequence[str]) -> bool:
    if options.header is not None:
        return options.header
    names, _ = unique_names(records[0])
    if like and set(names) == set(like):
        return True
    if like and tuple(like) == _numbered(len(like)):
        return False
    return (bool(options.columns) and names == tuple(options.columns)) or has_header(records)


def _names(
    first: list[str], options: ReadOptions, like: Sequence[str], *, header: bool, width: int, file: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if options.columns:
        if len(options.columns) != width:
            raise InvalidData(f"{len(options.columns)} names were given, but '{file}' has {width} columns")
        names, notices = unique_names(options.columns)
        if notices:
            raise InvalidData(f"the given names are not usable: {'; '.join(notices)}")
        return names, ()
    if header and len(first) == width:
        return unique_names(first)
    if header:
        return unique_names([*first[:width], *[""] * (width - len(first))])  # the lines are refused when they are read
    if len(like) == width:
        return tuple(like), ()
    names = _numbered(width)
    return names, (
        f"'{file}' has no header; its columns are called '{names[0]}' to '{names[-1]}' (give names to change that,"
        " or say that there is a header)",
    )


def _numbered(width: int) -> tuple[str, ...]:
    return tuple(f"column_{place + 1}" for place in range(width))


def _read_table(
    member: Member, encoding: Encoding, dialect: Dialect, *, names: tuple[str, ...], header: bool
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The strictest reading that fits the whole file; the error of the strictest one if none does."""
    attempts = [dialect]
    if dialect.quote is not None:
        lenient = replace(dialect, strict=False, multiline=False)
        attempts += [lenient, replace(dialect, quote=None, skip_space=False)]
    refused: InvalidData | None = None
    for attempt in attempts:
        try:
            table, notices = _read_rows(member, encoding, attempt, names=names, header=header)
        except InvalidData as problem:
            refused = refused or problem
            continue
        if attempt.quote is None and dialect.quote is not None:
            notices = (*notices, f"the quotes in '{member.name}' do not pair up and were taken as plain characters")
        return table, notices
    assert refused is not None
    raise refused


def _read_rows(
    member: Member, encoding: Encoding, dialect: Dialect, *, names: tuple[str, ...], header: bool
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    import polars as pl

    width = len(names)
    chunk_rows = max(1, CHUNK_CELLS // width)
    frames: list[pl.DataFrame] = []
    chunk: list[list[str]] = []
    ragged: list[tuple[int, int]] = []
    num_ragged = num_empty = 0
    pending = header

    def flush() -> None:
        columns = zip(*chunk, strict=True) if chunk else [[]] * width
        frames.append(pl.DataFrame([pl.Series(n, c, dtype=pl.String) for n, c in zip(names, columns, strict=True)]))
        chunk.clear()

    with open_text(member, encoding) as stream:
        for line, record in _records(stream, dialect, member.name):
            if len(record) != width:
                num_ragged += 1
                if len(ragged) < MAX_LINES_NAMED:
                    ragged.append((line, len(record)))
            elif pending:
                pending = False
            elif any(record):
                chunk.append(record)
                if len(chunk) == chunk_rows:
                    flush()
            else:
                num_empty += 1
    if num_ragged:
        raise InvalidData(_ragged(member.name, width, ragged, num_ragged, dialect))
    flush()
    table = pl.concat(frames, rechunk=True)
    if not table.height:
        raise InvalidData(f"'{member.name}' holds a header and no rows" if header else f"'{member.name}' holds no rows")
    notices = (f"skipped {counted(num_empty, 'row')} of '{member.name}' that held nothing",) if num_empty else ()
    return table, notices


def _records(stream: TextIO, dialect: Dialect, name: str) -> Iterator[tuple[int, list[str]]]:
    """(line where it begins, cells) of every record that is not blank. Raises InvalidData for quotes that do not fit."""
    reader = csv.reader(_with_end(stream), **dialect.reader_options())  # type: ignore[arg-type]
    line = 1
    try:
        for record in reader:
            if record and record[-1].endswith(_END):
                if record != [_END]:
                    raise InvalidData(f"'{name}', line {line}: a quote is opened and never closed")
                return
            if not dialect.multiline and reader.line_num > line:
                raise InvalidData(f"'{name}', line {line}: a quoted cell runs over the end of the line")
            if record and (len(record) > 1 or record[0].strip()):
                yield line, record
            line = reader.line_num + 1
    except csv.Error as problem:
        what = "a quote is opened and never closed" if "end of data" in str(problem) else str(problem)
        raise InvalidData(f"'{name}', line {line}: {what}") from None


def _with_end(stream: TextIO) -> Iterator[str]:
    """The lines, the last one ended too, and a record behind them that shows whether all quotes were closed."""
    for line in stream:
        yield line if line.endswith(("\n", "\r")) else line + "\n"
    yield _END


def _ragged(name: str, width: int, ragged: list[tuple[int, int]], num_ragged: int, dialect: Dialect) -> str:
    shown = ", ".join(f"line {line} ({cells})" for line, cells in ragged)
    more = f" and {num_ragged - len(ragged):,} more" if num_ragged > len(ragged) else ""
    cut = "" if dialect.delimiter == NO_DELIMITER else f" when cut at {dialect.delimiter!r}"
    return (
        f"'{name}' has {width} columns{cut}, but these lines have another number of cells: {shown}{more};"
        " mend them, or name the delimiter"
    )

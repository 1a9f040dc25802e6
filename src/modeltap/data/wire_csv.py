"""CSV text that a request or a file of rows brings → its records, and whether the first of them is a header: decided by the
model's columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TextIO

import msgspec

from modeltap.data.read_header import unique_names
from modeltap.errors import InvalidValue

if TYPE_CHECKING:
    from _csv import Reader

IsRow = Callable[[Sequence[str]], bool]
DELIMITERS = (",", ";", "\t", "|")
SAMPLE_RECORDS = 20
_END = "\x00end"
SAMPLE_CHARS = 1 << 18
SPARE_NAMES = 100
"""Cells that a header may have beyond the model's columns: naming them apart takes time, and a hostile line has millions."""


class CsvColumns(msgspec.Struct, frozen=True):
    """What a record may hold: the features (all of them), any known column, and how many cells there are without a header."""

    features: tuple[str, ...]
    known: frozenset[str]
    widths: frozenset[int]
    decimal_comma: bool = False


class CsvRecords(msgspec.Struct, frozen=True):
    """`lines` are where the records begin in the text. `header` is None where there is none."""

    header: tuple[str, ...] | None
    records: list[list[str]]
    lines: list[int]


class CsvForm(msgspec.Struct, frozen=True):
    """How a text is cut into records. `header` is None where there is none."""

    delimiter: str
    header: tuple[str, ...] | None


class CsvRecord(NamedTuple):
    """`line` is where it begins in the text."""

    line: int
    cells: list[str]


def find_form(begin: str, columns: CsvColumns, is_row: IsRow) -> CsvForm:
    """The form of a text that begins so, which is all of it or more than SAMPLE_CHARS: that which `split_csv` would find.

    Raises InvalidValue where it holds no record.
    """
    if not begin.strip():
        raise InvalidValue("the CSV file is empty; it needs at least one line")
    delimiter = _delimiter(begin, columns, is_row)
    records = [record for record in _sample(begin, delimiter) if not _is_blank(record, columns)]
    if not records:  # a line longer than the sample holds the numbers of a whole picture or array
        return CsvForm(max(DELIMITERS, key=begin.count), None)
    return CsvForm(delimiter, find_header(records, columns, is_row))


def read_records(stream: TextIO, form: CsvForm, columns: CsvColumns) -> Iterator[CsvRecord]:
    """The records of the text without its header, one by one, blank lines skipped.

    Raises InvalidValue, naming the line, where the text is no CSV, also for a quote that is never closed; what comes behind
    it cannot be read then.
    """
    reader = csv.reader(_with_end(stream), delimiter=form.delimiter, skipinitialspace=True)
    is_pending = form.header is not None
    begin = 1
    try:
        for record in reader:
            if record and record[-1].endswith(_END):
                if record != [_END]:
                    raise InvalidValue(f"line {begin} of the CSV cannot be read: a quote is opened and never closed")
                return
            if not _is_blank(record, columns):
                if not is_pending:
                    yield CsvRecord(begin, record)
                is_pending = False
            begin = reader.line_num + 1
    except csv.Error as problem:
        raise InvalidValue(f"line {begin} of the CSV cannot be read: {problem}") from None


def _with_end(stream: TextIO) -> Iterator[str]:
    """The lines, the last one ended too, and one more that is a record only if all quotes were closed."""
    for line in stream:
        yield line if line.endswith(("\n", "\r")) else line + "\n"
    yield _END


def split_csv(text: str, columns: CsvColumns, is_row: IsRow) -> CsvRecords:
    """The records of the text, blank lines skipped. `is_row` says whether cells can be a row; it decides between delimiters.

    Raises InvalidValue if there is none, or naming the line where the text is no CSV or a record has another number of cells
    than the header.
    """
    records: list[list[str]] = []
    lines: list[int] = []
    reader = _reader(text, _delimiter(text, columns, is_row))
    begin = 1
    try:
        for record in reader:
            if not _is_blank(record, columns):
                records.append(record)
                lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as problem:
        raise InvalidValue(f"line {begin} of the CSV cannot be read: {problem}") from None
    if not records:
        raise InvalidValue("the CSV body is empty; send at least one line")
    header = find_header(records, columns, is_row)
    if header is None:
        return CsvRecords(None, records, lines)
    for record, line in zip(records[1:], lines[1:], strict=True):
        if len(record) != len(header):
            raise InvalidValue(f"line {line} has {len(record)} cells, the header has {len(header)}")
    return CsvRecords(header, records[1:], lines[1:])


def find_header(records: Sequence[Sequence[str]], columns: CsvColumns, is_row: IsRow) -> tuple[str, ...] | None:
    """The names in the first record, as the dataset's file had them read; None if it is a row.

    It is a header if it names every feature. It is one, too, if most of its cells are names of columns (in whatever case), or
    half of them and it cannot be a row: then a column is unknown or missing, and whoever reads the rows says which.
    """
    if len(records[0]) > len(columns.known) + SPARE_NAMES:
        return None
    plain = tuple(cell.strip() for cell in records[0])
    numbered, _ = unique_names(records[0])
    names = plain if len(set(plain)) == len(plain) and set(plain) <= columns.known else numbered
    if set(columns.features) <= set(names):
        return names
    folded = {name.casefold() for name in columns.known}
    hits = sum(name.casefold() in folded for name in names)
    if len(records) == 1 or not hits or (2 * hits < len(names) and not set(names) <= columns.known):
        return None
    plain_names = hits >= 2 and 2 * hits > len(names)
    return names if plain_names or not is_row(records[0]) else None


def _delimiter(text: str, columns: CsvColumns, is_row: IsRow) -> str:
    """The first one that makes a header of the first line, else the one that makes rows of the first lines, the widest."""
    first, *others = DELIMITERS
    ordered = (*others, first) if columns.decimal_comma else DELIMITERS
    samples = {delimiter: _sample(text, delimiter) for delimiter in ordered}
    for delimiter, records in samples.items():
        if records and len(records[0]) > 1 and find_header(records, columns, is_row) is not None:
            return delimiter
    width = {delimiter: len(records[0]) if records else 0 for delimiter, records in samples.items()}
    fitting = [d for d in ordered if samples[d] and all(len(record) in columns.widths for record in samples[d])]
    fitting = [d for d in fitting if all(map(is_row, samples[d]))] or fitting
    if columns.decimal_comma and len(fitting) > 1:
        fitting = [delimiter for delimiter in fitting if delimiter != first]
    return max(fitting or ordered, key=width.__getitem__)


def _sample(text: str, delimiter: str) -> list[list[str]]:
    reader = _reader(text[:SAMPLE_CHARS], delimiter)
    try:
        records = list(islice((record for record in reader if record), SAMPLE_RECORDS))
    except csv.Error:
        return []
    return records[:-1] if len(text) > SAMPLE_CHARS and len(records) < SAMPLE_RECORDS else records


def _reader(text: str, delimiter: str) -> Reader:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)


def _is_blank(record: Sequence[str], columns: CsvColumns) -> bool:
    return not record or (len(record) == 1 and not record[0].strip() and 1 not in columns.widths)

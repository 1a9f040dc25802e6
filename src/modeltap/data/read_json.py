"""JSON Lines, or one JSON array of objects → a table of native values; a key that a row lacks is null."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from modeltap.data.read_arrays import array_form, stack_lists
from modeltap.data.read_encoding import Encoding, find_encoding, open_text
from modeltap.data.read_members import Member
from modeltap.data.read_texts import as_texts
from modeltap.data.source import PartRows, ReadOptions, Source
from modeltap.domain.signature import Array
from modeltap.errors import InvalidData

if TYPE_CHECKING:
    import polars as pl

MAX_COLUMNS = 16_384


def read_json(member: Member, options: ReadOptions) -> Source:
    """Rows of native values. Raises InvalidData naming the line that is no JSON object, or the column that is nested."""
    encoding = find_encoding(member, given=options.encoding)
    rows = _array_rows(member, encoding) if _is_array(member, encoding) else _line_rows(member, encoding)
    columns: dict[str, list[Any]] = {}
    for before, (where, row) in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidData(f"'{member.name}', {where}: every row must be an object, such as {{\"age\": 39}}")
        for name, value in row.items():
            if name not in columns:
                if len(columns) == MAX_COLUMNS:
                    raise InvalidData(f"'{member.name}' has more than {MAX_COLUMNS:,} columns")
                columns[name] = [None] * before
            columns[name].append(value)
        if len(row) < len(columns):
            for values in columns.values():
                if len(values) == before:
                    values.append(None)
    if not columns:
        raise InvalidData(f"'{member.name}' holds no rows")
    texts = as_texts(columns, member.name, encoding.notices)
    return texts or _as_source(columns, member.name, encoding.notices)


def _as_source(columns: dict[str, list[Any]], file: str, notices: tuple[str, ...]) -> Source:
    import polars as pl

    told = list(notices)
    series: list[pl.Series] = []
    arrays: dict[str, Array] = {}
    for name, values in columns.items():
        if any(isinstance(v, list) for v in values):
            arrays[name] = stack_lists(values, name)
        elif any(isinstance(v, dict) for v in values):
            raise InvalidData(f"column '{name}' of '{file}' holds objects; give each of their keys a column of its own")
        else:
            one, notice = _native(name, values)
            series.append(one)
            told += [notice] if notice else []
    form = array_form(arrays, num_columns=len(columns))
    return Source(form, tuple(columns), {"rows": PartRows(pl.DataFrame(series), arrays)}, tuple(told))


def _native(name: str, values: list[Any]) -> tuple[pl.Series, str | None]:
    """The column with one type: truths, whole numbers, numbers or texts; a mixture is read as texts, which is noted."""
    import polars as pl

    kinds = {type(v) for v in values if v is not None}
    if not kinds:
        return pl.Series(name, values, dtype=pl.String), None
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean), None
    if kinds == {int} and all(v is None or -(2**63) <= v < 2**63 for v in values):
        return pl.Series(name, values, dtype=pl.Int64), None
    if kinds <= {int, float} and all(v is None or abs(v) < 1e308 or v != v for v in values):
        return pl.Series(name, [None if v is None else float(v) for v in values], dtype=pl.Float64), None
    notice = None if kinds == {str} else f"column '{name}' mixes texts with other values; all of them are read as texts"
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pl.Series(name, texts, dtype=pl.String), notice


def _is_array(member: Member, encoding: Encoding) -> bool:
    with open_text(member, encoding) as stream:
        while head := stream.read(4096):
            if head.strip():
                return head.lstrip().startswith("[")
    return False


def _line_rows(member: Member, encoding: Encoding) -> Iterator[tuple[str, Any]]:
    with open_text(member, encoding) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield f"line {number}", _parse(line, f"'{member.name}', line {number}")


def _array_rows(member: Member, encoding: Encoding) -> Iterator[tuple[str, Any]]:
    with open_text(member, encoding) as stream:
        rows = _parse(stream.read(), f"'{member.name}'")
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _parse(text: str, where: str) -> Any:
    def refuse(word: str) -> NoReturn:
        raise InvalidData(f"{where}: {word} is not JSON; write null for a missing value")

    try:
        return json.loads(text, parse_constant=lambda word: None if word == "NaN" else refuse(word))
    except json.JSONDecodeError as problem:
        at = f"line {problem.lineno}, column {problem.colno}" if "\n" in text.strip() else f"column {problem.colno}"
        raise InvalidData(f"{where} is not valid JSON: {problem.msg} at {at}") from None
    except (RecursionError, ValueError) as problem:
        what = "it is nested too deeply" if isinstance(problem, RecursionError) else "a number has too many digits"
        raise InvalidData(f"{where} cannot be read: {what}") from None

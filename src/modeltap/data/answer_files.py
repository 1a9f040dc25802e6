"""The answers of a batch → one CSV, JSON Lines or Parquet file, a line for every row of the input, in its order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from modeltap.data.answer_chunks import Answers
from modeltap.data.answer_columns import ERROR, FILE, ROW, Kind, joined_kinds

if TYPE_CHECKING:
    import polars as pl

Form = Literal["csv", "jsonl", "parquet"]
FORMS: tuple[Form, ...] = ("csv", "jsonl", "parquet")
GROUP_CELLS = 1 << 21
"""Of a Parquet file that are put together in memory."""


def write_answers(chunks: Iterable[Answers], target: Path, form: Form) -> int:
    """The number of rows in the written file, which appears when it is complete. `chunks` is gone through twice.

    Columns: row (from 1 on), file (where rows are pictures), those of the answers, and error, which says why a row has none.
    """
    kinds = joined_kinds(answers.columns for answers in chunks)
    has_names = any(answers.names is not None for answers in chunks)
    with _staged(target) as staged:
        match form:
            case "jsonl":
                return _write_lines(chunks, staged, kinds, has_names=has_names)
            case "csv":
                return _write_csv(chunks, staged, kinds, has_names=has_names)
            case "parquet":
                return _write_parquet(chunks, staged, kinds, has_names=has_names)


def _write_lines(chunks: Iterable[Answers], target: Path, kinds: Mapping[str, Kind], *, has_names: bool) -> int:
    num_rows = 0
    with target.open("wb") as file:
        for answers in chunks:
            columns = _columns(answers, kinds, has_names=has_names)
            num_rows += answers.chunk.num_rows
            for values in zip(*columns.values(), strict=True):
                file.write(msgspec.json.encode(dict(zip(columns, values, strict=True))) + b"\n")
    return num_rows


def _write_csv(chunks: Iterable[Answers], target: Path, kinds: Mapping[str, Kind], *, has_names: bool) -> int:
    num_rows = 0
    with target.open("wb") as file:
        for answers in chunks:
            table = _table(_columns(answers, kinds, has_names=has_names), kinds, lists_as_text=True)
            table.write_csv(file, include_header=num_rows == 0)
            num_rows += table.height
    return num_rows


def _write_parquet(chunks: Iterable[Answers], target: Path, kinds: Mapping[str, Kind], *, has_names: bool) -> int:
    import polars as pl

    num_rows = 0
    group_rows = max(1, GROUP_CELLS // (len(kinds) + 3))
    with TemporaryDirectory(dir=target.parent, prefix=".parts-") as folder:
        parts: list[Path] = []
        waiting: list[pl.DataFrame] = []

        def flush() -> None:
            parts.append(Path(folder) / f"{len(parts):06d}.parquet")
            pl.concat(waiting, rechunk=True).write_parquet(parts[-1])
            waiting.clear()

        for answers in chunks:
            waiting.append(_table(_columns(answers, kinds, has_names=has_names), kinds, lists_as_text=False))
            num_rows += waiting[-1].height
            if sum(table.height for table in waiting) >= group_rows:
                flush()
        if waiting or not parts:
            flush()
        if len(parts) == 1:
            parts[0].replace(target)
        else:
            pl.scan_parquet(parts).sink_parquet(target)
    return num_rows


def _columns(answers: Answers, kinds: Mapping[str, Kind], *, has_names: bool) -> dict[str, list[Any]]:
    """Whole columns with a value for every row of the chunk; None where a row has no answer."""
    chunk = answers.chunk
    columns: dict[str, list[Any]] = {ROW: list(range(chunk.first + 1, chunk.end + 1))}
    if has_names:
        columns[FILE] = [*(answers.names or ())] or [None] * chunk.num_rows
    for name in kinds:
        column = answers.columns.get(name)
        values = [] if column is None else msgspec.json.decode(column.values)
        columns[name] = list(_spread(values or [None] * (chunk.num_rows - len(chunk.left_out)), answers))
    columns[ERROR] = [chunk.left_out.get(place) for place in range(chunk.num_rows)]
    return columns


def _spread(values: Iterable[Any], answers: Answers) -> Iterator[Any]:
    """The values at the places of the rows that were answered."""
    given = iter(values)
    left_out = answers.chunk.left_out
    return (None if place in left_out else next(given) for place in range(answers.chunk.num_rows))


def _table(columns: Mapping[str, list[Any]], kinds: Mapping[str, Kind], *, lists_as_text: bool) -> pl.DataFrame:
    import polars as pl

    types: dict[Kind, Any] = {
        "empty": pl.String,
        "text": pl.String,
        "whole": pl.Int64,
        "number": pl.Float64,
        "truth": pl.Boolean,
        "numbers": pl.List(pl.Float64),
        "json": pl.String,
    }
    series = []
    for name, values in columns.items():
        kind = "whole" if name == ROW else kinds.get(name, "text")
        if kind == "json" or (kind == "numbers" and lists_as_text):
            kind, values = "json", [None if value is None else msgspec.json.encode(value).decode() for value in values]
        elif kind == "number":
            values = [None if value is None else float(value) for value in values]
        series.append(pl.Series(name, values, dtype=types[kind], strict=False))
    return pl.DataFrame(series)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A path beside the target, which it becomes if nothing fails."""
    staged = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield staged
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)

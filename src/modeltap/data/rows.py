"""Wire value → typed input, by the schema: the one door between what arrives and what a graph takes.

Training, every protocol and the golden replay read rows here, so that the same value can only become the same number.
Letters: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from modeltap.data.blocks import parse_block
from modeltap.data.cells import ParseCell, cell_parser, missing_numbers, shown
from modeltap.data.images import parse_image, parse_pixels
from modeltap.data.wire_csv import CsvColumns, CsvForm, CsvRecord, find_form, read_records, split_csv
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.signature import Array, Batch, Datatype, TensorSpec
from modeltap.errors import InvalidValue, nearest

MAX_REPORTED = 20
BLOCK_CSV = CsvColumns(features=("",), known=frozenset(), widths=frozenset())
"""Of lines that hold whole pictures or arrays: there is no header."""


def input_spec(column: Column) -> TensorSpec:
    """The graph input of a feature column; -1 is the sample."""
    datatype: Datatype
    match column.kind:
        case "number" | "boolean" | "datetime":
            datatype = "FP64"
        case "category" | "text":
            datatype = "BYTES"
        case "image":
            datatype = "UINT8"
        case "array":
            datatype = column.datatype
    return TensorSpec(column.name, datatype, (-1, *column.shape))


def parse_column(column: Column, values: Sequence[Any] | Array, *, missing: Collection[str]) -> Array:
    """Typed values of one column: float64 (N,) with NaN where missing, object (N,) of str with "" where missing, uint8 or
    numbers (N, *shape). Equal texts are parsed once. Raises InvalidValue listing the first rows that do not fit."""
    if column.kind in ("image", "array"):
        return _parse_blocks(column, values)
    if isinstance(values, np.ndarray) and values.dtype == np.float64 and column.kind == "number":
        if np.isinf(values).any():
            _refuse(column, [(int(np.flatnonzero(np.isinf(values))[0]), "inf is not a finite number; send null")])
        gone = sorted(missing_numbers(missing))
        return np.where(np.isin(values, gone), np.nan, values) if gone else values
    return _parse_cells(cell_parser(column, missing), column, values)


def _parse_cells(parse: ParseCell, column: Column, values: Sequence[Any] | Array) -> Array:
    wrong: list[tuple[int, str]] = []
    memo: dict[Any, float | str] = {}
    parsed: list[float | str] = []
    filler: float | str = "" if column.kind in ("category", "text") else 0.0
    for row, cell in enumerate(values):
        key = (type(cell), cell)
        try:
            if key not in memo:
                memo[key] = parse(cell)
            parsed.append(memo[key])
        except InvalidValue as problem:
            wrong.append((row, problem.message))
            parsed.append(filler)
        except TypeError:
            wrong.append((row, f"{shown(cell)} is not a single value"))
            parsed.append(filler)
    if wrong:
        _refuse(column, wrong)
    if isinstance(filler, str):
        texts = np.empty(len(parsed), dtype=object)
        texts[:] = parsed
        return texts
    return np.array(parsed, dtype=np.float64)


def _parse_blocks(column: Column, values: Sequence[Any] | Array) -> Array:
    if isinstance(values, np.ndarray) and values.dtype != object and values.ndim > 1:
        shape = (len(values), *column.shape)
        return parse_pixels(values, shape) if column.kind == "image" else parse_block(values, column.datatype, shape)
    wrong: list[tuple[int, str]] = []
    blocks: list[Array] = []
    for row, value in enumerate(values):
        try:
            if column.kind == "image":
                blocks.append(parse_image(value, column.shape))
            else:
                blocks.append(parse_block(value, column.datatype, column.shape))
        except InvalidValue as problem:
            wrong.append((row, problem.message))
    if wrong:
        _refuse(column, wrong)
    if not blocks:
        return np.empty((0, *column.shape), dtype=np.uint8)
    return np.stack(blocks)


def _refuse(column: Column, wrong: Sequence[tuple[int, str]]) -> None:
    row, what = wrong[0]
    more = f" (and {len(wrong) - 1} more row{'s' * (len(wrong) > 2)})" if len(wrong) > 1 else ""
    raise InvalidValue(
        f"column '{column.name}' ({column.kind}), row {row + 1}: {what}{more}",
        fields=[(f"[{row}].{column.name}", what) for row, what in wrong[:MAX_REPORTED]],
    )


def _block_of(column: Column, cells: Sequence[str], line: int) -> Any:
    if len(cells) == 1 and column.kind == "image":
        return cells[0]
    size = math.prod(column.shape)
    if len(cells) != size:
        raise InvalidValue(f"line {line} has {len(cells)} cells, '{column.name}' takes {size} (shape {list(column.shape)})")
    try:
        return np.array(cells, dtype=np.float64).reshape(column.shape)
    except ValueError:
        raise InvalidValue(f"line {line} has a cell that is not a number; a line is {size} numbers, without a header") from None


class RowReader:
    """Reads rows by one schema into the graph's inputs. Columns that are no features are accepted and left out."""

    def __init__(self, schema: Schema, *, read_on: Callable[[Batch], Batch] | None = None) -> None:
        """`read_on` makes of typed values what the engine is given, where that is not the same."""
        self.schema = schema
        self._read_on = read_on
        self.features = schema.features
        self.names = [c.name for c in self.features]
        self._known = frozenset(c.name for c in schema.columns)
        self._feature_names = frozenset(self.names)
        self._cells: dict[str, ParseCell] = {
            c.name: cell_parser(c, schema.missing) for c in self.features if c.kind not in ("image", "array")
        }
        every = [c.name for c in schema.columns]
        target = schema.target
        self._orders = [every, [n for n in every if target is None or n != target.name], self.names]
        self._csv = CsvColumns(
            features=tuple(self.names),
            known=self._known,
            widths=frozenset(map(len, self._orders)),
            decimal_comma=any(c.decimal == "," for c in schema.columns),
        )

    @property
    def single(self) -> Column | None:
        """The only input, where a row may be its bare value: an image, an array or a text."""
        return self.features[0] if len(self.features) == 1 else None

    def rows(self, rows: Sequence[Any]) -> Batch:
        """Inputs of N rows, each an object of columns, an array in the columns' order, or the bare value of a single input.

        Raises InvalidValue if a column is unknown, missing or of the wrong kind; an explicit null is a missing value.
        """
        self._check_has_features()
        if not rows:
            raise InvalidValue("there are no rows; send at least one")
        gathered: dict[str, list[Any]] = {name: [] for name in self.names}
        for number, row in enumerate(rows):
            cells = self._row(row, number)
            for name in self.names:
                gathered[name].append(cells[name])
        return self._typed(gathered)

    def columns(self, columns: Mapping[str, Any]) -> Batch:
        """Inputs from whole columns, all of one length."""
        self._check_has_features()
        self._check_names(columns, "")
        lengths = {name: _length(name, columns[name]) for name in self.names}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"'{name}' has {n}" for name, n in lengths.items())
            raise InvalidValue(f"the columns differ in length: {told}")
        if not next(iter(lengths.values()), 0):
            raise InvalidValue("there are no rows; send at least one")
        return self._typed({name: columns[name] for name in self.names})

    def csv_rows(self, text: str) -> list[Any]:
        """The rows of CSV text, with or without a header line; also tab, semicolon and bar as delimiters.

        With a header they are objects, without one arrays in the columns' order. A line of pixels or of an array's numbers is
        one row; so is a line that holds one picture in base64.
        """
        single = self.single
        if single is not None and self._takes_block:
            found = split_csv(text, BLOCK_CSV, lambda _cells: True)
            return [_block_of(single, cells, line) for cells, line in zip(found.records, found.lines, strict=True)]
        found = split_csv(text, self._csv, self._is_row)
        if found.header is None:
            return list(found.records)
        return [dict(zip(found.header, record, strict=True)) for record in found.records]

    def csv_form(self, begin: str) -> CsvForm:
        """How a file of CSV that begins so is cut, by the same rules; see `find_form`."""
        if self._takes_block:
            return find_form(begin, BLOCK_CSV, lambda _cells: True)
        return find_form(begin, self._csv, self._is_row)

    def csv_records(self, stream: TextIO, form: CsvForm) -> Iterator[CsvRecord]:
        """The records of a file of CSV, one by one; `csv_row` makes rows of them."""
        return read_records(stream, form, BLOCK_CSV if self._takes_block else self._csv)

    def csv_row(self, record: CsvRecord, form: CsvForm) -> Any:
        """The row that `csv_rows` gives for the record. Raises InvalidValue for another number of cells than it takes."""
        line, cells = record
        if self._takes_block:
            assert self.single is not None
            return _block_of(self.single, cells, line)
        if form.header is None:
            return cells
        if len(cells) != len(form.header):
            raise InvalidValue(f"line {line} has {len(cells)} cells, the header has {len(form.header)}")
        return dict(zip(form.header, cells, strict=True))

    @property
    def _takes_block(self) -> bool:
        return self.single is not None and self.single.kind in ("image", "array")

    def _is_row(self, cells: Sequence[str]) -> bool:
        try:
            self.rows([list(cells)])
        except InvalidValue:
            return False
        return True

    def _row(self, row: Any, number: int) -> Mapping[str, Any]:
        single = self.single
        if isinstance(row, Mapping):
            self._check_names(row, f"row {number + 1}: ")
            return row
        if single is not None and (single.kind in ("image", "array", "text") or not isinstance(row, list | tuple)):
            return {single.name: row}
        if isinstance(row, list | tuple | np.ndarray):
            for order in self._orders:
                if len(row) == len(order):
                    return dict(zip(order, row, strict=True))
            raise InvalidValue(
                f"row {number + 1} has {len(row)} cells; the model takes {len(self.names)}: {', '.join(self.names[:30])}"
            )
        raise InvalidValue(f"row {number + 1} is {shown(row)}; a row is an object of columns or an array of cells")

    def _check_has_features(self) -> None:
        if not self.features:
            raise InvalidValue("the model takes whole tensors, no rows; send them to /v2/models/{name}/infer")

    def _check_names(self, given: Mapping[str, Any], where: str) -> None:
        unknown = [name for name in given if name not in self._known]
        absent = [name for name in self.names if name not in given]
        if not unknown and not absent:
            return
        told = [(name, f"unknown column{nearest(name, self._known)}") for name in unknown[:MAX_REPORTED]]
        message = [f"unknown column {shown(name)}{what.removeprefix('unknown column')}" for name, what in told[:3]]
        told += [(name, "missing; send null if it is not known") for name in absent]
        if absent:
            more = f" and {len(absent) - 12} more" if len(absent) > 12 else ""
            message.append(f"missing: {', '.join(absent[:12])}{more} (send null for a value that is not known)")
        raise InvalidValue(where + "; ".join(message), fields=told[:MAX_REPORTED])

    def _typed(self, columns: Mapping[str, Any]) -> Batch:
        batch: Batch = {}
        for column in self.features:
            values = columns[column.name]
            if column.name in self._cells and not isinstance(values, np.ndarray):
                batch[column.name] = _parse_cells(self._cells[column.name], column, values)
            else:
                batch[column.name] = parse_column(column, values, missing=self.schema.missing)
        return batch if self._read_on is None else self._read_on(batch)


def _length(name: str, values: Any) -> int:
    if isinstance(values, list | tuple | np.ndarray):
        return len(values)
    raise InvalidValue(f"column '{name}' is {shown(values)}; a column is an array of values")

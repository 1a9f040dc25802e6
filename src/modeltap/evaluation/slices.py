"""Groups of rows that share a value of a column, so that a model can be judged on each of them."""

# Letters: N samples, P of them where the column has a value, M in one slice, E edges between quartiles.

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.dataset import Kind
from modeltap.errors import InvalidValue, nearest
from modeltap.evaluation.arrays import Floats

Cell = str | float | bool | datetime | None
SliceColumns = Mapping[str, tuple[Sequence[Cell], Kind]]
"""Column name → its value in every evaluated row, and what the column holds."""
Rows = NDArray[np.intp]

MAX_CATEGORIES = 12
MAX_SINGLE_NUMBERS = 4
"""Numbers of which there are no more than these are slices of their own, not quartiles."""
MAX_TIMESTAMP_S = 2.5e11
"""The year 9892; dates of four digits end soon after."""
MISSING = "(missing)"
EMPTY = "(empty)"
"""A name in brackets stands for rows that no single value names."""


class RowGroup(NamedTuple):
    value: str
    rows: Rows
    """Rising positions (M,) of its rows; M >= 1."""


def slice_rows(columns: SliceColumns | None, slice_by: Sequence[str], *, num_rows: int) -> dict[str, list[RowGroup]]:
    """The slices of each column in `slice_by`; together they hold every row once.

    Categories: the 12 most frequent values, then the rest together. Booleans: each value. Numbers, dates (ISO 8601, or
    seconds since 1970) and the lengths of texts: quartiles, or each value where there are few. Missing values come last.
    Raises InvalidValue for an unknown column, a wrong number of values, or values that do not fit the kind.
    """
    columns = columns or {}
    slices = {}
    for name in slice_by:
        if name not in columns:
            raise InvalidValue(f"there is no column '{name}' to slice by{nearest(name, columns)}")
        cells, kind = columns[name]
        if len(cells) != num_rows:
            raise InvalidValue(
                f"column '{name}' has {len(cells):,} values for {num_rows:,} evaluated rows; give one value a row"
            )
        slices[name] = _slice_column(name, cells, kind)
    return slices


def _slice_column(name: str, cells: Sequence[Cell], kind: Kind) -> list[RowGroup]:
    if kind in ("image", "array"):
        raise InvalidValue(
            f"column '{name}' holds an {kind} in each row; slice by a number, boolean, date, category or text instead"
        )
    missing_N = np.asarray([cell is None or (isinstance(cell, float) and math.isnan(cell)) for cell in cells])
    row_P = np.flatnonzero(~missing_N)
    values = [cells[i] for i in row_P.tolist()]
    if not values:
        groups = []
    elif kind in ("category", "boolean"):
        groups = _categories([_category_name(value, kind) for value in values], row_P)
    else:
        groups = _quartiles(np.asarray([_number(name, value, kind) for value in values]), row_P, kind)
    if missing_N.any():
        groups.append(RowGroup(MISSING, np.flatnonzero(missing_N)))
    return groups


def _category_name(value: Cell, kind: Kind) -> str:
    if isinstance(value, bool | np.bool_) or (kind == "boolean" and not isinstance(value, str)):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or EMPTY


def _categories(values: list[str], row_P: Rows) -> list[RowGroup]:
    """The most frequent first; equally frequent ones by name."""
    rows: dict[str, list[int]] = {}
    for row, value in zip(row_P.tolist(), values, strict=True):
        rows.setdefault(value, []).append(row)
    by_count = sorted(rows, key=lambda value: (-len(rows[value]), value))
    groups = [RowGroup(value, np.asarray(rows[value])) for value in by_count[:MAX_CATEGORIES]]
    rest = by_count[MAX_CATEGORIES:]
    if rest:
        others = sorted(row for value in rest for row in rows[value])
        groups.append(RowGroup(f"(other: {len(rest):,} values)", np.asarray(others)))
    return groups


def _number(name: str, value: Cell, kind: Kind) -> float:
    """What a column's quartiles are of: the number, the length of the text, or seconds since 1970."""
    if kind == "text":
        return float(len(str(value)))
    try:
        if kind == "datetime" and isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) or (kind == "datetime" and abs(number) > MAX_TIMESTAMP_S):
        allowed = "ISO 8601 dates, or seconds since 1970" if kind == "datetime" else "numbers"
        raise InvalidValue(f"column '{name}' has the value {value!r}; to slice by a {kind}, give {allowed}")
    return number


def _quartiles(number_P: Floats, row_P: Rows, kind: Kind) -> list[RowGroup]:
    distinct = np.unique(number_P)
    unit = " characters" if kind == "text" else ""
    if len(distinct) <= MAX_SINGLE_NUMBERS:
        names = _edge_names(distinct, kind)
        return [RowGroup(f"{name}{unit}", row_P[number_P == value]) for name, value in zip(names, distinct, strict=True)]
    # An edge is a value that occurs; the largest one ends the last slice and needs no edge.
    edge_E = np.unique(np.quantile(number_P, (0.25, 0.5, 0.75), method="inverted_cdf"))
    edge_E = edge_E[edge_E < distinct[-1]] if edge_E[0] < distinct[-1] else distinct[-2:-1]
    names = _edge_names(edge_E, kind)
    after = "after" if kind == "datetime" else "over"
    between = [f"{after} {low} to {high}" for low, high in itertools.pairwise(names)]
    values = [f"up to {names[0]}", *between, f"{after} {names[-1]}"]
    slice_P = np.searchsorted(edge_E, number_P, side="left")
    return [RowGroup(f"{value}{unit}", row_P[slice_P == i]) for i, value in enumerate(values)]


def _edge_names(edge_E: Floats, kind: Kind) -> list[str]:
    """A short text for each edge, with as many digits as keep them apart."""
    if kind == "datetime":
        times = [np.datetime64(int(edge), "s") for edge in edge_E]
        days = [str(time.astype("datetime64[D]")) for time in times]
        return days if len(set(days)) == len(days) else [str(time).replace("T", " ") for time in times]
    for digits in range(4, 18):
        names = [_short_number(edge, digits) for edge in edge_E.tolist()]
        if len(set(names)) == len(names):
            break
    return names


def _short_number(number: float, digits: int) -> str:
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    return f"{number:.{digits}g}"

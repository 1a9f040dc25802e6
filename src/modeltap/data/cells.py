"""One cell → one typed value, by its column: the only place where text becomes a number, a truth, a time or a category."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from modeltap.domain.dataset import Column
from modeltap.errors import InvalidValue

TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "on"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "off"})
MISSING_NUMBER = math.nan
MISSING_TEXT = ""
FIRST_S, LAST_S = -62_135_596_800.0, 253_402_300_799.0
"""The seconds since 1970 between which a calendar has years from 1 to 9999."""
LONGEST_SHOWN = 60

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,15}))\.0+")
_TRUTHS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}

ParseCell = Callable[[Any], float | str]


def cell_parser(column: Column, missing: Collection[str]) -> ParseCell:
    """The function that reads a cell of `column`: number, boolean and datetime → float (missing is NaN; times are seconds
    since 1970 in UTC), category and text → str (missing is ""). It raises InvalidValue without saying where."""
    markers = frozenset(missing)
    match column.kind:
        case "number":
            return _number_parser(column, markers)
        case "boolean":
            return _boolean_parser(markers)
        case "datetime":
            return _datetime_parser(column, markers)
        case "category" | "text":
            return _text_parser(column, markers)
        case kind:
            raise InvalidValue(f"column '{column.name}' holds a whole {kind}, not a cell")


def missing_numbers(missing: Collection[str]) -> frozenset[float]:
    """The numbers among the texts that mean a missing value, such as -999: they mean it in every way of writing them."""
    numbers = []
    for marker in missing:
        try:
            numbers.append(float(marker))
        except ValueError:
            continue
    return frozenset(number for number in numbers if math.isfinite(number))


def _number_parser(column: Column, markers: frozenset[str]) -> ParseCell:
    comma = column.decimal == ","
    numbers = missing_numbers(markers)

    def parse(cell: Any) -> float:
        if cell is None:
            return MISSING_NUMBER
        if isinstance(cell, str):
            text = cell.strip()
            if text in markers:
                return MISSING_NUMBER
            if comma and "," in text:
                text = text.replace(".", "").replace(",", ".")
            try:
                if "_" in text:
                    raise ValueError
                number = float(text)
            except ValueError:
                raise InvalidValue(f"{shown(cell)} is not a number") from None
        elif isinstance(cell, bool | np.bool_):
            raise InvalidValue(f"{shown(cell)} is not a number; send 1 or 0 if a number is meant")
        elif isinstance(cell, int | float | Decimal | np.integer | np.floating):
            try:
                number = float(cell)
            except OverflowError:
                raise InvalidValue(f"{shown(cell)} is too large for a 64-bit number") from None
            if math.isnan(number):
                return MISSING_NUMBER
        else:
            raise InvalidValue(f"{shown(cell)} is not a number")
        if not math.isfinite(number):
            raise InvalidValue(f"{shown(cell)} is not a finite number; send null for a missing value")
        return MISSING_NUMBER if number in numbers else number

    return parse


def _boolean_parser(markers: frozenset[str]) -> ParseCell:
    numbers = missing_numbers(markers)

    def parse(cell: Any) -> float:
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return MISSING_NUMBER
        if isinstance(cell, str):
            text = cell.strip()
            if text in markers:
                return MISSING_NUMBER
            word = text.casefold()
            if word in TRUE_WORDS:
                return 1.0
            if word in FALSE_WORDS:
                return 0.0
        elif isinstance(cell, bool | np.bool_):
            return float(cell)
        elif isinstance(cell, int | float | np.integer | np.floating):
            if cell in numbers:
                return MISSING_NUMBER
            if cell in (0, 1):
                return float(cell)
        raise InvalidValue(f"{shown(cell)} is not a truth value; allowed: true, false, yes, no, 1, 0 or null")

    return parse


def _datetime_parser(column: Column, markers: frozenset[str]) -> ParseCell:
    form = column.date_format

    def parse(cell: Any) -> float:
        if cell is None:
            return MISSING_NUMBER
        if isinstance(cell, str):
            text = cell.strip()
            if text in markers:
                return MISSING_NUMBER
            return _epoch_s(_parse_time(text, form))
        if isinstance(cell, datetime):
            return _epoch_s(cell)
        if isinstance(cell, date):
            return _epoch_s(datetime(cell.year, cell.month, cell.day))
        if isinstance(cell, int | float | np.integer | np.floating) and not isinstance(cell, bool):
            if isinstance(cell, float | np.floating) and math.isnan(cell):
                return MISSING_NUMBER
            if not FIRST_S <= cell <= LAST_S:
                raise InvalidValue(f"{shown(cell)} is no time: a number is taken as seconds since 1970, in the years 1 to 9999")
            return float(cell)
        raise InvalidValue(f"{shown(cell)} is not a date; send ISO 8601, such as 2026-11-22 or 2026-11-22T08:30:00Z")

    return parse


def _parse_time(text: str, form: str | None) -> datetime:
    if form is not None:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            pass  # a client may send ISO 8601 whatever the file's own form was
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        allowed = "ISO 8601, such as 2026-11-22" + (f", or the form {form}" if form else "")
        raise InvalidValue(f"{shown(text)} is not a date; allowed: {allowed}") from None


def _epoch_s(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _text_parser(column: Column, markers: frozenset[str]) -> ParseCell:
    """A feature's `1.0` is `1`, and its `True` is `true`, because JSON and Parquet write them so; labels stay as they are."""
    casefold = "casefold" in column.normalize
    alike = column.role != "target"
    trailing_dots = "trailing-dots" in column.normalize

    def parse(cell: Any) -> str:
        if cell is None:
            return MISSING_TEXT
        if isinstance(cell, str):
            text = cell.strip()
        elif isinstance(cell, bool | np.bool_):
            text = "true" if cell else "false"
        elif isinstance(cell, int | np.integer):
            text = str(int(cell))
        elif isinstance(cell, float | np.floating | Decimal):
            number = float(cell)
            if math.isnan(number):
                return MISSING_TEXT
            text = str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
        elif isinstance(cell, datetime | date):
            text = cell.isoformat()
        elif isinstance(cell, bytes):
            try:
                text = cell.decode().strip()
            except UnicodeDecodeError:
                raise InvalidValue("the bytes are not UTF-8 text") from None
        else:
            raise InvalidValue(f"{shown(cell)} is not a text")
        if text in markers:
            return MISSING_TEXT
        if "\x00" in text:
            raise InvalidValue("a text cannot hold a NUL character")
        if alike and column.kind == "category":
            text = _as_others_write_it(text)
            if text in markers:
                return MISSING_TEXT
        if trailing_dots:
            text = text.rstrip(".").rstrip()
        return text.casefold() if casefold else text

    return parse


def _as_others_write_it(text: str) -> str:
    if text in _TRUTHS:
        return _TRUTHS[text]
    whole = _WHOLE.fullmatch(text)
    return str(int(whole[1])) if whole and abs(int(whole[1])) < 2**53 else text


def shown(value: Any) -> str:
    """The value as a person would write it, cut to a readable length."""
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= LONGEST_SHOWN else f"'{value[:LONGEST_SHOWN]}…'"
    if isinstance(value, np.generic):
        value = value.item()
    try:
        text = reprlib.repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"

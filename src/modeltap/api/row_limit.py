"""How many rows one request may hold: told before each of them is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeltap.data.rows import RowReader
from modeltap.errors import InvalidValue

MAX_ROWS = 250_000
"""Each is looked at by itself: more would take longer than anybody waits."""


def check_rows(count: int) -> None:
    """Raises InvalidValue if there are too many."""
    if count > MAX_ROWS:
        raise InvalidValue(
            f"there are {count:,} rows; at most {MAX_ROWS:,} are answered at a time: send them in several requests, or run a"
            " batch"
        )


def longest(value: Any) -> int:
    """The length of the longest list in a body, or in its columns, that rows may be; 1 where there is none."""
    if isinstance(value, list):
        return len(value)
    if not isinstance(value, Mapping):
        return 1
    columns = value.get("inputs")
    lists = [*value.values(), *(columns.values() if isinstance(columns, Mapping) else ())]
    return max((len(one) for one in lists if isinstance(one, list)), default=1)


def csv_rows(reader: RowReader, text: str) -> list[Any]:
    """The rows of CSV text. Raises InvalidValue as the reader does, and for too many of them."""
    check_rows(max(text.count("\n"), text.count("\r")) - 1)  # the first line may be a header
    return reader.csv_rows(text)

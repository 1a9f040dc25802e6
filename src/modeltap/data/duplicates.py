"""Rows that repeat an earlier one, by the typed values of their columns. Letters: N rows."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.signature import Array


def first_of_equals(columns: Mapping[str, Array]) -> NDArray[np.int64]:
    """Index of every row that repeats no earlier one, ascending; missing equals missing.

    columns: float64 (N,), object (N,) of str, or numbers (N, *shape), all of the same N and at least one.
    """
    import polars as pl

    place = "row"
    series = [pl.Series(str(number), _comparable(values)) for number, values in enumerate(columns.values())]
    table = pl.DataFrame(series)
    kept = table.with_row_index(place).unique(table.columns, keep="first", maintain_order=True)
    return kept[place].to_numpy().astype(np.int64)


def _comparable(values: Array) -> list[object] | Array:
    if values.ndim > 1:
        return [blake2b(block.tobytes(), digest_size=16).digest() for block in values]
    return values.tolist() if values.dtype == object else values

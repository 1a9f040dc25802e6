"""Arrays as columns: what a model can take of them, and lists in rows → one array. Letters: N samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modeltap.domain.dataset import Form
from modeltap.domain.signature import Array
from modeltap.errors import InvalidData


def plain_array(values: Array, name: str) -> Array:
    """uint8 as it is, truths as uint8, whole numbers as int64, other numbers as float32; (N, 1) if it was (N,).

    Raises InvalidData for texts, objects and complex numbers, and for numbers that are not finite or too large.
    """
    if values.ndim == 1:
        values = values.reshape(-1, 1)
    if values.ndim == 0 or 0 in values.shape[1:]:
        raise InvalidData(f"'{name}' has the shape {list(values.shape)}; the first axis is the sample, and none may be 0")
    match values.dtype.kind:
        case "b":
            return values.astype(np.uint8)
        case "u" | "i" if values.dtype == np.uint8:
            return values
        case "u" | "i":
            if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
                raise InvalidData(f"'{name}' holds whole numbers above 2^63 - 1")
            return values.astype(np.int64)
        case "f":
            with np.errstate(over="ignore"):
                single = values.astype(np.float32)
            if not np.isfinite(single).all():
                place = int(np.flatnonzero(~np.isfinite(single.reshape(len(single), -1)).all(axis=1))[0])
                raise InvalidData(
                    f"'{name}' holds a number that is not finite (or over 3.4e38) in sample {place};"
                    " arrays have no missing values, so replace or drop it"
                )
            return single
    raise InvalidData(f"'{name}' holds {values.dtype}; allowed: whole numbers, floating-point numbers and truth values")


def stack_lists(values: Sequence[Any], name: str) -> Array:
    """(N, *shape) of lists of numbers, one a row. Raises InvalidData naming the row that is missing or differs in length."""
    for row, value in enumerate(values, start=1):
        if not isinstance(value, list):
            raise InvalidData(f"column '{name}' holds lists, but row {row} holds {_shown(value)}")
        if len(value) != len(values[0]):
            raise InvalidData(
                f"column '{name}' holds lists of {len(values[0])} values in row 1 and of {len(value)} in row {row};"
                " all must be equally long"
            )
    try:
        stacked = np.asarray(values)
    except (ValueError, OverflowError):
        stacked = np.empty(0, dtype=object)
    if stacked.dtype.kind not in "uifb":
        raise InvalidData(
            f"column '{name}' is nested; allowed are single values, and lists of numbers that are all equally long"
        )
    return plain_array(stacked, name)


def array_form(arrays: Mapping[str, Array], *, num_columns: int) -> Form:
    """`arrays` for one array column and at most one other, its target; `table` without arrays. InvalidData otherwise."""
    if not arrays:
        return "table"
    if len(arrays) > 1 or num_columns > 2:
        raise InvalidData(
            f"column '{next(iter(arrays))}' holds lists; beside a column of lists there may be one target alone."
            " Give every number a column of its own"
        )
    return "arrays"


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"

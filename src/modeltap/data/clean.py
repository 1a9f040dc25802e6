"""Which rows a part keeps: repeated and incomplete ones may leave training; no part keeps a row without a target.

Imputing and clipping happen in the graph, and texts are mended by the schema, so that serving does the same.
Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modeltap.data.duplicates import first_of_equals
from modeltap.data.wording import counted
from modeltap.domain.dataset import Part
from modeltap.domain.recipe import Clean
from modeltap.domain.signature import Array
from modeltap.errors import InvalidData

TARGET = "\x00target"


@dataclass(frozen=True)
class KeptRows:
    """Ascending row numbers (N,) of the part, and what was left out."""

    index: NDArray[np.int64]
    notices: tuple[str, ...] = ()


def kept_rows(features: Mapping[str, Array], target_N: Array | None, clean: Clean, *, part: Part) -> KeptRows:
    """The rows that the part keeps. Only the part `train` loses repeated rows and rows with missing features, as `clean`
    asks; a repeated row has the same typed features and target.

    features, target_N: typed values as `rows.parse_column` gives them. Raises InvalidData if no row is left.
    """
    num_rows = len(target_N) if target_N is not None else len(next(iter(features.values()), ()))
    keep_N = np.ones(num_rows, dtype=bool)
    notices: list[str] = []
    if target_N is not None:
        missing_N = is_missing(target_N)
        keep_N &= ~missing_N
        _note(notices, "left out", int(missing_N.sum()), "row", f"of {part} without a target")
    if part == "train" and clean.missing == "drop":
        gone_N = np.zeros(num_rows, dtype=bool)
        for values in features.values():
            gone_N |= is_missing(values)
        _note(notices, "dropped", int((gone_N & keep_N).sum()), "training row", "with a missing value")
        keep_N &= ~gone_N
    index_N = np.flatnonzero(keep_N).astype(np.int64)
    if part == "train" and clean.duplicates == "drop" and features and len(index_N):
        columns = {name: values[index_N] for name, values in features.items()}
        if target_N is not None:
            columns[TARGET] = target_N[index_N]
        first = first_of_equals(columns)
        _note(notices, "dropped", len(index_N) - len(first), "training row", "that repeated an earlier one")
        index_N = index_N[first]
    if num_rows and not len(index_N):
        raise InvalidData(f"no row of {part} is left: {'; '.join(notices)}; change data.clean, or mend the data")
    return KeptRows(index_N, tuple(notices))


def is_missing(values: Array) -> NDArray[np.bool_]:
    """bool (N,): NaN in a column of floats, "" in one of texts; arrays and pictures have no missing values."""
    if values.ndim > 1:
        return np.zeros(len(values), dtype=bool)
    if values.dtype == object:
        return np.fromiter((v == "" for v in values), dtype=bool, count=len(values))
    if values.dtype.kind == "f":
        return np.isnan(values)
    return np.zeros(len(values), dtype=bool)


def _note(notices: list[str], done: str, count: int, noun: str, which: str) -> None:
    if count:
        notices.append(f"{done} {counted(count, noun)} {which}")

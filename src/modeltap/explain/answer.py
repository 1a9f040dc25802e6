"""What an explanation says of one row, as one JSON-ready value."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch
from modeltap.explain.fidelity import Fidelity
from modeltap.explain.steps import Floats

MAX_HEAT_SIDE = 256
"""Of a heat map as numbers; that of a larger picture is averaged down to it."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ColumnScore(msgspec.Struct, frozen=True, kw_only=True):
    """`shapley`: by how much the column moves the answer away from the base. `error`: its standard error; None of one draw."""

    column: str
    value: Any
    shapley: float
    error: float | None


class WordScore(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`score`: by how much the answer is larger with the word. It stands at the characters from `start` to before `end`."""

    text: str
    start: int
    end: int
    score: float
    error: float | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"label": "class"}):
    """Of a table's row `values`, of a picture `heat` and `png`, of a text `words` and `html`."""

    prediction: Any
    method: str
    answer: float
    """What is explained: the probability of the class, or the predicted number."""
    label: str | None = None
    base: float | None = None
    """The mean answer of the background; `answer` is this and the sum of all values."""
    values: list[ColumnScore] | None = None
    """The largest first."""
    heat: list[list[float]] | None = None
    """By how much the answer is larger with what is at a pixel; rows from the top."""
    png: str | None = None
    """The picture under its heat map, as a PNG file in base64: red speaks for the answer, blue against it."""
    words: list[WordScore] | None = None
    html: str | None = None
    """The text with its words coloured."""
    fidelity: Fidelity
    backgrounds: int | None = None
    """Rows that stood in for what was taken away."""
    permutations: int | None = None
    rows: int
    """That the engine ran for it."""
    seed: int


def column_value(column: Column, typed: Batch) -> Any:
    """The cell of the one row, as it could be sent; None where it is missing."""
    cell = typed[column.name][0]
    if column.kind in ("category", "text"):
        return str(cell) or None
    number = float(cell)
    if math.isnan(number):
        return None
    if column.kind == "boolean":
        return number != 0
    if column.kind == "datetime":
        try:
            return (EPOCH + timedelta(seconds=number)).isoformat().removesuffix("+00:00").removesuffix("T00:00:00")
        except OverflowError:
            return number
    return number


def plain_error(error: float) -> float | None:
    return None if math.isnan(error) else error


def heat_rows(heat_HW: Floats) -> list[list[float]]:
    """The heat map as numbers, averaged down to MAX_HEAT_SIDE a side where it is larger."""
    block = -(-max(heat_HW.shape) // MAX_HEAT_SIDE)
    if block > 1:
        starts = [np.arange(0, extent, block) for extent in heat_HW.shape]
        sums = np.add.reduceat(np.add.reduceat(heat_HW, starts[0], axis=0), starts[1], axis=1)
        counts = [np.diff([*start, extent]) for start, extent in zip(starts, heat_HW.shape, strict=True)]
        heat_HW = sums / np.outer(*counts)
    rows: list[list[float]] = heat_HW.tolist()
    return rows

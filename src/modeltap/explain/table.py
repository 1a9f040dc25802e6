"""The players of a table's row: its columns, and of an array its numbers, or blocks of them where there are many.

Letters: K rows that are asked, M players, B rows of the background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch
from modeltap.explain.answer import column_value
from modeltap.explain.steps import Ints, Masks

MAX_OF_ARRAY = 64
"""Players of one array; a longer one is cut into so many blocks."""


class TablePlayers:
    """`row`: one typed row. `background`: B typed rows of the same columns."""

    num_backgrounds: int

    def __init__(self, columns: Sequence[Column], row: Batch, background: Batch) -> None:
        self._row = row
        self._background = background
        self.num_backgrounds = len(next(iter(background.values())))
        self.names: list[str] = []
        self.cells: list[Any] = []
        """What the row has there, as it could be sent; None for a block of several numbers."""
        self._places: dict[str, Any] = {}
        """Column → the number of its player, or of an array the player of each of its numbers."""
        for column in columns:
            first = len(self.names)
            if column.shape:
                block_of = block_places(math.prod(column.shape))
                self.names += block_names(column, block_of)
                numbers = row[column.name][0].ravel().tolist()
                self.cells += numbers if len(self.names) - first == len(numbers) else [None] * (len(self.names) - first)
                self._places[column.name] = first + block_of
            else:
                self.names.append(column.name)
                self.cells.append(column_value(column, row))
                self._places[column.name] = first
        self.count = len(self.names)
        self.row_values = sum(values[0].size if values.ndim > 1 else 1 for values in row.values())

    def rows(self, present_KM: Masks, background_K: Ints) -> Batch:
        batch: Batch = {}
        for name, place in self._places.items():
            own = self._row[name]
            others = self._background[name][background_K]
            present = present_KM[:, place]
            batch[name] = np.where(present.reshape(others.shape), own, others)
        return batch


def block_places(size: int) -> Any:
    """(size,): which player each number of an array belongs to."""
    return np.arange(size) * min(size, MAX_OF_ARRAY) // size


def block_names(column: Column, block_of: Any) -> list[str]:
    """`x[3]`, `x[2,0]`, or of a block `x[8:16]`, counted through the whole array."""
    size, count = len(block_of), int(block_of[-1]) + 1
    if count == size:
        return [f"{column.name}[{','.join(map(str, np.unravel_index(place, column.shape)))}]" for place in range(size)]
    starts = np.searchsorted(block_of, np.arange(count + 1)).tolist()
    return [f"{column.name}[{first}:{last}]" for first, last in pairwise(starts)]

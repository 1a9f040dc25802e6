"""The rows of the training part that a table's bundle keeps for explanations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from modeltap.bundle.background import MAX_ROWS, MAX_VALUES, takes_background
from modeltap.bundle.golden import wire_rows
from modeltap.data.store import StoredDataset
from modeltap.runner.prepare import Prepared

SEED = 0


def background_rows(stored: StoredDataset, prepared: Prepared) -> list[Any]:
    """A sample in wire form and in random order, the same for the same data; none for pictures and texts."""
    part, features = prepared.parts["train"], prepared.schema.features
    if not takes_background(prepared.schema):
        return []
    row_values = sum(math.prod(column.shape) for column in features)
    num_rows = min(len(part), max(1, min(MAX_ROWS, MAX_VALUES // row_values)))
    chosen = np.random.default_rng(SEED).permutation(len(part))[:num_rows]
    columns: dict[str, Sequence[Any]] = {}
    for column in features:
        values = stored.column(part.stored, prepared.names[column.name])
        columns[column.name] = [values[place] for place in part.rows[chosen].tolist()]
    return wire_rows(prepared.schema, columns)

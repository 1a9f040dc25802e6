"""Rows that stand in for what an explanation takes away: a small sample of the training part, in the bundle of a table's model.

They are in the form they arrive in, like golden rows, which take their place in a bundle that has no such sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modeltap.bundle.golden import awkward_rows
from modeltap.domain.dataset import Schema
from modeltap.errors import Broken

BACKGROUND = "background.json"
MAX_ROWS = 64
MAX_VALUES = 50_000
"""Of all rows together: of long arrays fewer are kept."""


class Background(msgspec.Struct, frozen=True):
    rows: list[Any]


def takes_background(schema: Schema) -> bool:
    """Whether rows are explained by others: those of a table are, a picture and a text have what stands for nothing."""
    features = schema.features
    return bool(features) and not any(c.kind == "image" for c in features) and [c.kind for c in features] != ["text"]


def background_file(rows: Sequence[Any]) -> dict[str, bytes]:
    """The file by its name in the bundle; none without rows."""
    return {BACKGROUND: msgspec.json.encode(Background(list(rows)))} if rows else {}


def read_background(files: Mapping[str, Path], schema: Schema, golden: Sequence[Any]) -> list[Any]:
    """The rows of the sample, else the golden ones that are real rows; none where there are none. Raises Broken."""
    if BACKGROUND not in files:
        made_up = awkward_rows(schema)
        return [row for row in golden if row not in made_up]
    try:
        return msgspec.json.decode(files[BACKGROUND].read_bytes(), type=Background).rows
    except (OSError, msgspec.MsgspecError) as problem:
        raise Broken(f"the rows for explanations cannot be read: {problem}") from None

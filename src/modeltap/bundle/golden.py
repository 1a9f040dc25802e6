"""Golden rows: rows in the form they arrive in, and the answers they got when the model was made.

They are replayed at every deploy, through the same reader of rows and the same kind of engine that will serve.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from modeltap.bundle.environment import environment
from modeltap.bundle.golden_cases import Case, replay_cases
from modeltap.bundle.golden_prompts import Prompt
from modeltap.data.images import encode_png
from modeltap.data.rows import RowReader
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.signature import NUMPY_DTYPE, Array, Batch, Signature
from modeltap.errors import GoldenMismatch

TOLERANCE = 1e-5
"""Relative to the larger of 1 and the recorded number; where processor or runtime differ from the recording."""

Run = Callable[[Batch], Batch]


class Golden(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`answers`: output name → one value a row. `environment` is where they were computed."""

    rows: list[Any]
    answers: dict[str, list[Any]]
    environment: dict[str, str]
    cases: tuple[Case, ...] = ()
    """Of an imported graph, which has no rows."""
    prompts: tuple[Prompt, ...] = ()
    """Of a language model, replayed by `golden_prompts.replay_prompts`."""


def record_golden(schema: Schema, rows: Sequence[Any], run: Run) -> Golden:
    """The rows with the answers that `run` gives them now."""
    outputs = run(RowReader(schema).rows(rows))
    return Golden(
        rows=list(rows), answers={name: values.tolist() for name, values in outputs.items()}, environment=environment()
    )


def replay_golden(golden: Golden, schema: Schema, signature: Signature, run: Run) -> None:
    """Nothing, if every answer repeats: to the bit on the recording's processor and runtime, elsewhere within TOLERANCE and
    with the same label. Raises GoldenMismatch naming the first row that differs."""
    exact = golden.environment == environment()
    replay_cases(golden.cases, run, exact=exact)
    if not golden.rows:
        return
    outputs = run(RowReader(schema).rows(golden.rows))
    for spec in signature.outputs:
        recorded = np.array(golden.answers[spec.name], dtype=NUMPY_DTYPE[spec.datatype])
        given = outputs[spec.name]
        if recorded.shape != given.shape:
            raise GoldenMismatch(f"output '{spec.name}' has the shape {given.shape}, recorded was {recorded.shape}")
        row = _first_difference(recorded, given, exact=exact or spec.datatype == "BYTES")
        if row is not None:
            raise GoldenMismatch(
                f"output '{spec.name}' of golden row {row + 1} is {given[row]!s}, recorded was {recorded[row]!s}"
                f" ({'the same' if exact else 'another'} processor and runtime); the version is not deployed"
            )


def _first_difference(recorded: Array, given: Array, *, exact: bool) -> int | None:
    if exact:
        same = recorded == given
        if recorded.dtype.kind == "f":
            same = same | (np.isnan(recorded) & np.isnan(given))
    else:
        same = np.isclose(recorded, given, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    rows = np.asarray(same).reshape(len(recorded), -1).all(axis=1)
    return None if rows.all() else int(np.argmin(rows))


def wire_rows(schema: Schema, columns: dict[str, Sequence[Any]]) -> list[Any]:
    """JSON-ready rows of raw values by feature column: pictures as base64 PNG, dates in ISO 8601, no number for a missing
    one; a single picture or array stands for itself."""
    features = schema.features
    if len(features) == 1 and features[0].kind in ("image", "array"):
        return [_wire_value(features[0], value) for value in columns[features[0].name]]
    names = [c.name for c in features]
    by_column = [[_wire_value(c, value) for value in columns[c.name]] for c in features]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*by_column, strict=True)]


def awkward_rows(schema: Schema) -> list[Any]:
    """Rows no table has enough of: one in which everything is missing, and one of categories never seen."""
    features = schema.features
    if any(c.kind in ("image", "array") for c in features):
        return []
    unseen = {c.name: "\u2026never seen\u2026" if c.kind in ("category", "text") else None for c in features}
    return [dict.fromkeys((c.name for c in features), None), unseen]


def _wire_value(column: Column, value: Any) -> Any:
    if column.kind == "image":
        return base64.b64encode(encode_png(np.asarray(value, dtype=np.uint8))).decode()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value

"""What a dataset looks like, column by column, as JSON-ready facts. Values are those that training reads.

Letters: N rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.data.clean import is_missing
from modeltap.data.duplicates import first_of_equals
from modeltap.data.rows import parse_column
from modeltap.data.source import Source
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.signature import Array

NUM_BINS = 20
TOP_VALUES = 20
MAX_CLASSES = 200
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
FEW_NUMBERS = 20
"""A number target with at most so many different values is counted like classes."""


def profile(source: Source, schema: Schema) -> dict[str, Any]:
    """Rows, parts, repeated rows, size, one entry a column and the balance of the target.

    Raises InvalidValue naming the column, the row and the value that cannot be read as the schema says.
    """
    typed = {column.name: _typed(source, schema, column) for column in schema.columns}
    num_rows = sum(rows.num_rows for rows in source.parts.values())
    compared = {c.name: typed[c.name] for c in schema.columns if c.role in ("feature", "target")}
    facts: dict[str, Any] = {
        "form": schema.form,
        "rows": num_rows,
        "parts": {part: rows.num_rows for part, rows in source.parts.items()},
        "duplicate_rows": num_rows - len(first_of_equals(compared)) if compared else 0,
        "size_bytes": sum(
            int(rows.table.estimated_size()) + sum(a.nbytes for a in rows.arrays.values()) for rows in source.parts.values()
        ),
        "columns": [_column_facts(column, typed[column.name]) for column in schema.columns],
    }
    target = schema.target
    if target is not None:
        facts["target"] = _balance(target, typed[target.name])
    return facts


def _typed(source: Source, schema: Schema, column: Column) -> Array:
    parts = [parse_column(column, r.column(column.name), missing=schema.missing) for r in source.parts.values()]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _column_facts(column: Column, values: Array) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": column.name, "kind": column.kind, "role": column.role}
    if column.kind in ("image", "array"):
        return facts | _block_facts(column, values)
    known_N = values[~is_missing(values)]
    facts["missing"] = len(values) - len(known_N)
    match column.kind:
        case "number" | "boolean":
            return facts | _number_facts(known_N.astype(np.float64))
        case "datetime":
            return facts | _datetime_facts(known_N.astype(np.float64))
        case _:
            return facts | _text_facts(known_N, is_text=column.kind == "text")


def _number_facts(known_N: NDArray[np.float64]) -> dict[str, Any]:
    facts: dict[str, Any] = {"distinct": len(np.unique(known_N))}
    if not len(known_N):
        return facts
    with np.errstate(all="ignore"):
        statistics = {"min": known_N.min(), "max": known_N.max(), "mean": known_N.mean(), "std": known_N.std()}
        quantiles = np.quantile(known_N, QUANTILES)
    facts |= {name: _plain(value) for name, value in statistics.items()}
    facts["quantiles"] = {str(q): _plain(value) for q, value in zip(QUANTILES, quantiles, strict=True)}
    facts["histogram"] = _histogram(known_N)
    return facts


def _datetime_facts(known_N: NDArray[np.float64]) -> dict[str, Any]:
    facts: dict[str, Any] = {"distinct": len(np.unique(known_N))}
    if len(known_N):
        facts |= {"min": _iso(known_N.min()), "max": _iso(known_N.max()), "histogram": _histogram(known_N)}
    return facts


def _text_facts(known_N: Array, *, is_text: bool) -> dict[str, Any]:
    counts: Counter[str] = Counter(known_N.tolist())
    facts: dict[str, Any] = {"distinct": len(counts)}
    if not is_text:
        facts["top"] = [{"value": value, "count": count} for value, count in _ranked(counts)[:TOP_VALUES]]
    elif len(known_N):
        chars_N = np.array([len(text) for text in known_N])
        words_N = np.array([len(text.split()) for text in known_N])
        for name, lengths in (("characters", chars_N), ("words", words_N)):
            facts[name] = {"min": int(lengths.min()), "mean": float(lengths.mean()), "max": int(lengths.max())}
    return facts


def _block_facts(column: Column, values: Array) -> dict[str, Any]:
    facts: dict[str, Any] = {"missing": 0, "shape": list(column.shape), "datatype": column.datatype}
    if not values.size:
        return facts
    facts |= {"min": _plain(values.min()), "max": _plain(values.max())}
    if column.kind == "image" and len(column.shape) == 3:
        facts["channel_mean"] = [_plain(values[..., c].mean()) for c in range(column.shape[2])]
    facts["mean"] = _plain(values.mean(dtype=np.float64))
    return facts


def _balance(target: Column, values: Array) -> dict[str, Any]:
    """Classes with their count and share, the most frequent first; of a target with many numbers its spread."""
    known_N = values[~is_missing(values)]
    facts: dict[str, Any] = {"name": target.name, "missing": len(values) - len(known_N)}
    if target.kind in ("number", "boolean", "datetime"):
        if len(np.unique(known_N)) > FEW_NUMBERS:
            return facts | _number_facts(known_N.astype(np.float64))
        counts = Counter(_number_label(v) for v in known_N.tolist())
    else:
        counts = Counter(known_N.tolist())
    facts["distinct"] = len(counts)
    facts["classes"] = [
        {"label": label, "count": count, "fraction": count / len(known_N)} for label, count in _ranked(counts)[:MAX_CLASSES]
    ]
    return facts


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _histogram(known_N: NDArray[np.float64]) -> dict[str, Any]:
    """`counts` of equally wide bins between neighbouring `edges`; one bin where the values span too little or too much."""
    low, high = float(known_N.min()), float(known_N.max())
    with np.errstate(all="ignore"):
        edges = np.linspace(low, high, NUM_BINS + 1)
    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        return {"edges": [low, high], "counts": [len(known_N)]}
    place_N = np.clip(np.searchsorted(edges, known_N, side="right") - 1, 0, NUM_BINS - 1)
    return {"edges": edges.tolist(), "counts": np.bincount(place_N, minlength=NUM_BINS).tolist()}


def _plain(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _number_label(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(float(seconds), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s since 1970"

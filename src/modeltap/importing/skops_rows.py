"""Rows for a scikit-learn model whose training data is gone: made of what the model keeps of its columns, and turned into what
scikit-learn takes.

Letters: N rows, F columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.dataset import Column, Schema
from modeltap.domain.signature import Array, Batch
from modeltap.importing.skops_columns import Facts

NUM_ROWS = 256
SEED = 0
NEVER_SEEN = "…never seen…"
MISSING_SHARE = 0.1
EXACT_SHARE = 0.4
ARRAY = "x"
NO_GAPS = "{} must not be missing: scikit-learn takes no such row, and here its answer means nothing"

Predict = Callable[[Any], Any]


def schema_of(facts: Sequence[Facts], *, is_named: bool) -> Schema:
    """One column each; of numbers without names, one array."""
    if facts[0].kind == "text" and len(facts) == 1:
        return Schema(form="texts", columns=(Column(name=facts[0].name, kind="text"),), missing=())
    if not is_named and all(one.kind == "number" for one in facts):
        column = Column(name=ARRAY, kind="array", shape=(len(facts),), datatype="FP64")
        return Schema(form="arrays", columns=(column,), missing=())
    return Schema(form="table", columns=tuple(Column(name=one.name, kind=one.kind) for one in facts), missing=("",))


class Generated(NamedTuple):
    """`has_gap` says in which rows a number is missing; `notices` what scikit-learn itself would not take, so that none of it
    is among the rows."""

    rows: Batch
    has_gap: NDArray[np.bool_]
    notices: list[str]


def generated_rows(facts: Sequence[Facts], schema: Schema, predict: Predict) -> Generated:
    """NUM_ROWS rows such as the model may have seen."""
    chance = np.random.default_rng(SEED)
    drawn = [_drawn(one, chance) for one in facts]
    notices: list[str] = []
    has_gap_N = np.zeros(NUM_ROWS, dtype=np.bool_)
    is_array = schema.form == "arrays"
    for one, values in zip(facts, drawn, strict=True):
        if one.kind == "text":
            values[0] = ""
            continue
        gone = "" if one.kind == "category" else np.nan
        if not is_array and _is_taken(predict, facts, drawn, one, gone):
            chosen_N = chance.random(NUM_ROWS) < MISSING_SHARE
            values[chosen_N] = gone
            has_gap_N |= chosen_N & (one.kind == "number")
        elif not is_array:
            notices.append(NO_GAPS.format(f"'{one.name}'"))
        if one.kind == "category" and _is_taken(predict, facts, drawn, one, NEVER_SEEN):
            values[chance.random(NUM_ROWS) < MISSING_SHARE] = NEVER_SEEN
        elif one.kind == "category":
            notices.append(f"'{one.name}' must be one of its {len(one.words):,} categories: scikit-learn refuses any other")
    if is_array:
        return Generated({ARRAY: np.stack(drawn, axis=1)}, has_gap_N, notices)
    return Generated({one.name: values for one, values in zip(facts, drawn, strict=True)}, has_gap_N, notices)


def sklearn_rows(batch: Batch, facts: Sequence[Facts]) -> Any:
    """The same rows as scikit-learn takes them: (N, F) numbers, (N, F) objects where some are texts, or a list of texts."""
    if facts[0].kind == "text" and len(facts) == 1:
        return [str(text) for text in batch[facts[0].name]]
    if ARRAY in batch and len(batch) == 1 and np.ndim(batch[ARRAY]) == 2:
        return np.asarray(batch[ARRAY], dtype=np.float64)
    columns = [np.asarray(batch[one.name]) for one in facts]
    if all(one.kind == "number" for one in facts):
        return np.stack(columns, axis=1).astype(np.float64)
    rows = np.empty((len(columns[0]), len(facts)), dtype=object)
    for at, (one, values) in enumerate(zip(facts, columns, strict=True)):
        rows[:, at] = [one.missing if one.kind == "category" and value == "" else value for value in values.tolist()]
    return rows


def _drawn(one: Facts, chance: np.random.Generator) -> Array:
    if one.kind == "text":
        words = one.words or ["word"]
        texts = [" ".join(chance.choice(words, chance.integers(1, 12))) for _ in range(NUM_ROWS)]
        texts[1:40:3] = [text.title() + ", and more!" for text in texts[1:40:3]]
        return np.array(texts, dtype=object)
    if one.kind == "category":
        known = np.array(one.words or ["a"], dtype=object)
        each = known[np.arange(NUM_ROWS) % len(known)]
        return np.where(np.arange(NUM_ROWS) < NUM_ROWS // 2, each, chance.choice(known, NUM_ROWS))
    if not one.numbers:
        plain: Array = chance.standard_normal(NUM_ROWS) * np.resize([1.0, 1.0, 10.0, 100.0], NUM_ROWS)
        return plain
    kept = np.array(one.numbers)
    spread = float(kept.std()) or 1.0
    near = chance.choice(kept, NUM_ROWS) + chance.standard_normal(NUM_ROWS) * spread
    is_whole = bool((kept == np.round(kept)).all())
    drawn = np.where(chance.random(NUM_ROWS) < 0.5, np.round(near), near) if is_whole else near
    if one.exact:
        chosen_N = chance.random(NUM_ROWS) < EXACT_SHARE
        drawn = np.where(chosen_N, chance.choice(one.exact, NUM_ROWS), drawn)
    return np.asarray(drawn, dtype=np.float64)


def _is_taken(predict: Predict, facts: Sequence[Facts], drawn: list[Array], one: Facts, value: Any) -> bool:
    """Whether scikit-learn answers a row in which this column has the value."""
    rows: Batch = {}
    for other, values in zip(facts, drawn, strict=True):
        rows[other.name] = values[:1].copy()
    rows[one.name][0] = value
    try:
        predict(sklearn_rows(rows, facts))
    except (ValueError, TypeError):
        return False
    return True

"""Rows and their truth through a graph → an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from modeltap.bundle.golden import Run
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.signature import Array, Batch, Signature
from modeltap.evaluation.result import Evaluation, evaluate_classification, evaluate_regression
from modeltap.runner.prepare import PartData

CHUNK_VALUES = 4_000_000
"""Numbers that are run at a time; what lies between the layers takes many times their memory."""
MAX_SLICED_COLUMNS = 8


def judge(run: Run, part: PartData, signature: Signature, labels: Sequence[str], *, slices: Sequence[Column]) -> Evaluation:
    """The evaluation of the graph's answers on the part, by slice of the given columns too."""
    return judge_answers(run_in_chunks(run, part.columns)[signature.outputs[0].name], part, labels, slices=slices)


def judge_answers(answer: Array, part: PartData, labels: Sequence[str], *, slices: Sequence[Column]) -> Evaluation:
    """The evaluation of answers that are there already: probabilities or numbers, one a row of the part."""
    columns = {c.name: (cells(part.columns[c.name]), c.kind) for c in slices}
    names = [c.name for c in slices]
    if labels:
        return evaluate_classification(answer, part.target, labels=labels, columns=columns, slice_by=names)
    return evaluate_regression(answer, part.target, columns=columns, slice_by=names)


def run_in_chunks(run: Run, columns: Batch) -> Batch:
    """The outputs for all rows, however many there are."""
    num_rows = len(next(iter(columns.values())))
    per_row = sum(math.prod(values.shape[1:]) for values in columns.values())
    chunk = max(1, CHUNK_VALUES // max(per_row, 1) // 16)
    pieces = [
        run({name: values[start : start + chunk] for name, values in columns.items()}) for start in range(0, num_rows, chunk)
    ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def slice_columns(schema: Schema) -> list[Column]:
    """The columns that an evaluation is sliced by unless it is told others: the first categories and truth values."""
    return [c for c in schema.features if c.kind in ("category", "boolean")][:MAX_SLICED_COLUMNS]


def cells(values: Array) -> list[Any]:
    """A column as slices are made of it: None where a value is missing."""
    if values.dtype == object:
        return [text or None for text in values.tolist()]
    return [None if math.isnan(number) else number for number in values.tolist()]

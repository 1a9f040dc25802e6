"""The entry of `tabular-count`: rows of a table → how many, a whole number that is never below zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeltap.domain.signature import Batch
from modeltap.domain.task import Task


def decode_counts(outputs: Batch, output: str, labels: Sequence[str]) -> list[Any]:
    """The predicted number for each row, rounded, and 0 where it is negative."""
    return [max(0, round(float(number))) for number in outputs[output]]


TABULAR_COUNT = Task(
    name="tabular-count",
    summary="rows of a table → a count",
    forms=("table", "arrays"),
    target="number",
    losses=("mse", "mae", "huber"),
    metric="rmse",
    higher_is_better=False,
    architecture="residual-mlp",
    decode=decode_counts,
    unit="row",
)

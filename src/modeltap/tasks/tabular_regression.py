"""Rows of a table → a number."""

from modeltap.domain.task import Task
from modeltap.tasks.answers import decode_numbers

TASK = Task(
    name="tabular-regression",
    summary="rows of a table, or plain arrays, → a number",
    forms=("table", "arrays"),
    target="number",
    losses=("mse", "mae", "huber"),
    metric="rmse",
    higher_is_better=False,
    architecture="gradient-boosting",
    decode=decode_numbers,
    unit="row",
    defaults={"batch_size": 128},
)

"""Rows of a table → one of several classes."""

from modeltap.domain.task import Task
from modeltap.tasks.answers import decode_classes

TASK = Task(
    name="tabular-classification",
    summary="rows of a table, or plain arrays, → one of several classes",
    forms=("table", "arrays"),
    target="class",
    losses=("cross-entropy",),
    metric="accuracy",
    higher_is_better=True,
    architecture="gradient-boosting",
    decode=decode_classes,
    unit="row",
    defaults={"batch_size": 128},
)

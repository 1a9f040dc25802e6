"""Texts → one of several classes: sentiment, topic, what may not be said."""

from modeltap.domain.task import Task
from modeltap.tasks.answers import decode_classes

TASK = Task(
    name="text-classification",
    summary="texts → one of several classes",
    forms=("texts", "table"),
    target="class",
    losses=("cross-entropy",),
    metric="accuracy",
    higher_is_better=True,
    architecture="ngram-linear",
    decode=decode_classes,
    unit="row",
    defaults={"batch_size": 64},
)

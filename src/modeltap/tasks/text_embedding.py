"""Texts → vectors, near each other where the texts mean the same."""

from modeltap.domain.task import Task
from modeltap.tasks.answers import decode_vectors

TASK = Task(
    name="text-embedding",
    summary="texts → vectors of length 1, near each other where the texts mean the same",
    forms=("texts", "table"),
    target="none",
    losses=("contrastive",),
    metric="pair_accuracy",
    higher_is_better=True,
    architecture="sentence-encoder",
    decode=decode_vectors,
    unit="token",
    defaults={"batch_size": 64},
)

"""Texts → what comes next: completions, and answers in a talk."""

from collections.abc import Sequence
from typing import Any

from modeltap.domain.signature import Batch
from modeltap.domain.task import Task


def decode_texts(outputs: Batch, output: str, labels: Sequence[str]) -> list[Any]:
    """The text that follows each row's."""
    texts: list[Any] = outputs[output].tolist()
    return texts


TASK = Task(
    name="text-generation",
    summary="texts → the text that comes next, token by token",
    forms=("texts",),
    target="none",
    losses=("cross-entropy",),
    metric="perplexity",
    higher_is_better=False,
    architecture="gpt",
    decode=decode_texts,
    unit="token",
    defaults={
        "data": {"split": {"train": 0.9, "val": 0.1, "test": 0.0, "stratify": False}},
        "optimizer": {"name": "adamw", "betas": [0.9, 0.95], "eps": 1e-8},
        "schedule": {"name": "cosine", "warmup": 0.05, "floor": 0.1},
        "gradient_clip": 1.0,
        "batch_size": 16,
    },
)

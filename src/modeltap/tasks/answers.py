"""Graph outputs → the answers that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeltap.domain.signature import Batch


def decode_classes(outputs: Batch, output: str, labels: Sequence[str]) -> list[Any]:
    """{"label", "score", "scores": {label: p}} for each row; the label is the one with the highest probability."""
    answers = []
    for scores in outputs[output].tolist():
        best = max(range(len(labels)), key=scores.__getitem__)
        answers.append({"label": labels[best], "score": scores[best], "scores": dict(zip(labels, scores, strict=True))})
    return answers


def decode_vectors(outputs: Batch, output: str, labels: Sequence[str]) -> list[Any]:
    """The row's vector, as a list."""
    vectors: list[Any] = outputs[output].tolist()
    return vectors


def decode_numbers(outputs: Batch, output: str, labels: Sequence[str]) -> list[Any]:
    """The predicted number for each row."""
    numbers: list[Any] = outputs[output].tolist()
    return numbers

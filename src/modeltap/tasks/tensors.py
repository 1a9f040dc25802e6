"""A graph that was made elsewhere: whatever tensors it takes and gives."""

from collections.abc import Sequence
from typing import Any

from modeltap.domain.signature import Batch
from modeltap.domain.task import Task


def decode_tensors(outputs: Batch, output: str, labels: Sequence[str]) -> list[Any]:
    """The row's values of the only output; of several outputs, an object of them."""
    columns = {name: values.tolist() for name, values in outputs.items()}
    if len(columns) == 1:
        answers: list[Any] = next(iter(columns.values()))
        return answers
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


TASK = Task(
    name="tensors",
    summary="an imported graph: tensors → tensors",
    forms=(),
    target="number",
    losses=(),
    metric="",
    higher_is_better=True,
    architecture="",
    decode=decode_tensors,
    unit="row",
    only_finite=False,
)

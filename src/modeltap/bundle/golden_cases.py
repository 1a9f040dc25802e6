"""Golden cases: whole requests of tensors and the outputs they got when a graph was imported, to the bit.

What golden rows are for a graph that was trained here; an imported one may have no rows at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from modeltap.data.tensor_bytes import decode_elements, elements_from_bytes, numbers_from_bytes, tensor_to_bytes
from modeltap.domain.signature import Array, Batch, Datatype, Signature
from modeltap.errors import GoldenMismatch

TOLERANCE: dict[Datatype, float] = {"FP16": 1e-2, "FP32": 1e-5, "FP64": 1e-5}
"""Relative to the larger of 1 and the recorded number; where processor or runtime differ from the recording."""

Run = Callable[[Batch], Batch]


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """`data` is in the protocol's binary form (base64 in JSON); None for an output that differs from run to run."""

    datatype: Datatype
    shape: tuple[int, ...]
    data: bytes | None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and what it got."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def record_case(inputs: Batch, signature: Signature, run: Run) -> Case:
    """The inputs with the outputs that `run` gives them; of an output that a second run gives otherwise, the shape alone."""
    first, second = run(inputs), run(inputs)
    return Case(
        inputs={spec.name: _written(inputs[spec.name], spec.datatype) for spec in signature.inputs},
        outputs={
            spec.name: _written(first[spec.name], spec.datatype, is_kept=same_bits(first[spec.name], second[spec.name]))
            for spec in signature.outputs
        },
    )


def replay_cases(cases: Sequence[Case], run: Run, *, exact: bool) -> None:
    """Nothing, if every output repeats: to the bit if `exact`, else numbers within TOLERANCE.

    Raises GoldenMismatch naming the first case that differs.
    """
    for number, case in enumerate(cases, start=1):
        outputs = run({name: read_tensor(tensor) for name, tensor in case.inputs.items()})
        for name, recorded in case.outputs.items():
            given = outputs[name]
            if given.shape != recorded.shape:
                raise GoldenMismatch(
                    f"output '{name}' of golden case {number} has the shape {list(given.shape)}, recorded was"
                    f" {list(recorded.shape)}"
                )
            if recorded.data is not None and not _repeats(read_tensor(recorded), given, recorded.datatype, exact=exact):
                raise GoldenMismatch(
                    f"output '{name}' of golden case {number} is not what was recorded"
                    f" ({'the same' if exact else 'another'} processor and runtime); the version is not deployed"
                )


def read_tensor(tensor: Tensor) -> Array:
    """The array that was recorded."""
    data = tensor.data or b""
    if tensor.datatype != "BYTES":
        return numbers_from_bytes(data, tensor.datatype).reshape(tensor.shape)
    texts = np.empty(math.prod(tensor.shape), dtype=object)
    texts[:] = decode_elements(elements_from_bytes(data, len(texts)))
    return texts.reshape(tensor.shape)


def same_bits(first: Array, second: Array) -> bool:
    """Whether shapes and bits are the same."""
    if first.shape != second.shape:
        return False
    if first.dtype == object:
        return bool((first == second).all())
    return first.tobytes() == second.tobytes()


def _written(values: Array, datatype: Datatype, *, is_kept: bool = True) -> Tensor:
    return Tensor(datatype=datatype, shape=values.shape, data=tensor_to_bytes(values) if is_kept else None)


def _repeats(recorded: Array, given: Array, datatype: Datatype, *, exact: bool) -> bool:
    tolerance = TOLERANCE.get(datatype)
    if exact or tolerance is None:
        return same_bits(recorded, given)
    numbers: Any = recorded
    return bool(np.isclose(numbers, given, rtol=tolerance, atol=tolerance, equal_nan=True).all())

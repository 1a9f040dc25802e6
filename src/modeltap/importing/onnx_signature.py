"""What a graph takes and gives, from what ONNX Runtime says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modeltap.domain.dataset import Column, Schema
from modeltap.domain.signature import Datatype, Signature, TensorSpec
from modeltap.engines.onnx import GraphTensor
from modeltap.errors import InvalidData

DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""ONNX Runtime's name of a type → the protocol's."""


def datatype_of(tensor: GraphTensor, what: str) -> Datatype:
    """Raises InvalidData for sequences, maps and numbers that the protocol does not have."""
    found = DATATYPES.get(tensor.kind)
    if found is None:
        hint = "; export a scikit-learn model with zipmap=False" if "map(" in tensor.kind else ""
        raise InvalidData(
            f"the {what} '{tensor.name[:80]}' is a {tensor.kind}; served are tensors of: {', '.join(DATATYPES.values())}{hint}"
        )
    return found


def input_specs(inputs: Sequence[GraphTensor], *, unranked: frozenset[str]) -> tuple[TensorSpec, ...]:
    """Raises InvalidData for an input that says nothing of its shape."""
    for one in inputs:
        if one.name in unranked:
            raise InvalidData(
                f"the input '{one.name[:80]}' has no shape; export the model with one, with -1 or a name for free axes"
            )
    return tuple(TensorSpec(one.name, datatype_of(one, "input"), _shape(one)) for one in inputs)


def output_specs(
    outputs: Sequence[GraphTensor], *, unranked: frozenset[str], ranks: Mapping[str, int]
) -> tuple[TensorSpec, ...]:
    """An output without a shape has as many free axes as it had when the graph was run, or one."""
    return tuple(
        TensorSpec(
            one.name,
            datatype_of(one, "output"),
            (-1,) * ranks.get(one.name, 1) if one.name in unranked else _shape(one),
        )
        for one in outputs
    )


def schema_of(signature: Signature, *, is_batched: bool) -> Schema:
    """One column of arrays for each input, where rows can be told apart and all inputs are numbers of one shape; else none."""
    inputs = signature.inputs
    has_rows = is_batched and all(spec.datatype != "BYTES" and min(spec.shape[1:], default=1) > 0 for spec in inputs)
    columns = [
        Column(name=spec.name, kind="array", shape=spec.shape[1:], datatype=spec.datatype)
        for spec in (inputs if has_rows else ())
    ]
    return Schema(form="arrays", columns=tuple(columns), missing=())


def _shape(tensor: GraphTensor) -> tuple[int, ...]:
    return tuple(axis if isinstance(axis, int) else -1 for axis in tensor.axes)

"""A graph's outputs → the body of a /v2 answer: JSON, or JSON and behind it the bytes of the tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from modeltap.api.asgi import Answer
from modeltap.api.inference_request import InferRequest
from modeltap.data.cells import shown
from modeltap.data.tensor_bytes import tensor_to_bytes
from modeltap.domain.signature import Array, Batch, Signature, TensorSpec
from modeltap.errors import InvalidValue, nearest

OCTETS = b"application/octet-stream"
HEAD_LENGTH = b"inference-header-content-length"

PlannedOutputs = Sequence[tuple[TensorSpec, bool]]
"""What is sent, in order, and whether it is sent as bytes."""


def plan_outputs(signature: Signature, request: InferRequest) -> PlannedOutputs:
    """The wanted outputs (all, where none are named). Raises InvalidValue for one that does not exist or is wanted twice, and
    for FP16 that is not asked for as bytes."""
    wanted = request.outputs
    if wanted is None:
        planned = [(spec, request.is_binary) for spec in signature.outputs]
    else:
        specs = {spec.name: spec for spec in signature.outputs}
        for output in wanted:
            if output.name not in specs:
                raise InvalidValue(f"the model has no output {shown(output.name)}{nearest(output.name, specs)}")
        planned = [
            (specs[output.name], request.is_binary if output.is_binary is None else output.is_binary) for output in wanted
        ]
        if len({spec.name for spec, _ in planned}) < len(planned):
            raise InvalidValue("an output is asked for twice")
    for spec, is_binary in planned:
        if spec.datatype == "FP16" and not is_binary:
            raise InvalidValue(
                f"output '{spec.name}' is FP16, which has no form in JSON; ask for it as binary_data, or for other outputs"
            )
    return planned


def write_answer(name: str, version: str, request_id: str | None, planned: PlannedOutputs, outputs: Batch) -> Answer:
    """The answer. A number that is not finite is null in JSON; as bytes it is what it is."""
    listed: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for spec, is_binary in planned:
        values = outputs[spec.name]
        told: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": values.shape}
        if is_binary:
            part = tensor_to_bytes(values)
            told["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            told["data"] = _listed(values)
        listed.append(told)
    body: dict[str, Any] = {"model_name": name, "model_version": version}
    if request_id is not None:
        body["id"] = request_id
    body["outputs"] = listed
    head = msgspec.json.encode(body)
    if not parts:
        return Answer(200, head)
    return Answer(200, b"".join((head, *parts)), OCTETS, [(HEAD_LENGTH, b"%d" % len(head))])


def _listed(values: Array) -> list[Any]:
    flat: list[Any] = np.ravel(values).tolist()
    return flat

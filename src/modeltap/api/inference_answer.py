"""A graph's outputs → the body of a /v2 answer: JSON, or JSON and behind it the bytes of the tensors."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from modeltap.api.asgi import Answer
from modeltap.api.inference_request import InferRequest
from modeltap.api.memory_slots import Slot
from modeltap.data.cells import shown
from modeltap.data.tensor_bytes import tensor_to_bytes
from modeltap.domain.signature import Batch, Signature, TensorSpec
from modeltap.errors import InvalidValue, nearest

OCTETS = b"application/octet-stream"
HEAD_LENGTH = b"inference-header-content-length"


class PlannedOutput(NamedTuple):
    spec: TensorSpec
    is_binary: bool
    """Whether it is sent, or written, as bytes."""
    slot: Slot | None = None
    """Where it is written instead of being sent."""


PlannedOutputs = Sequence[PlannedOutput]
"""What is sent, in order."""

_encode = msgspec.json.Encoder().encode
_CUT = secrets.token_hex(12)
"""Nobody outside knows it, so that no name can hold it."""


def plan_outputs(signature: Signature, request: InferRequest) -> PlannedOutputs:
    """The wanted outputs (all, where none are named). Raises InvalidValue for one that does not exist or is wanted twice, and
    for FP16 that is not asked for as bytes."""
    wanted = request.outputs
    if wanted is None:
        planned = [PlannedOutput(spec, request.is_binary) for spec in signature.outputs]
    else:
        specs = {spec.name: spec for spec in signature.outputs}
        for output in wanted:
            if output.name not in specs:
                raise InvalidValue(f"the model has no output {shown(output.name)}{nearest(output.name, specs)}")
        planned = [
            PlannedOutput(specs[one.name], request.is_binary if one.is_binary is None else one.is_binary, one.slot)
            for one in wanted
        ]
        if len({output.spec.name for output in planned}) < len(planned):
            raise InvalidValue("an output is asked for twice")
    for spec, is_binary, _ in planned:
        if spec.datatype == "FP16" and not is_binary:
            raise InvalidValue(
                f"output '{spec.name}' is FP16, which has no form in JSON; ask for it as binary_data, or for other outputs"
            )
    return planned


class AnswerWriter:
    """Writes the answers to requests that ask for the same. What stands around their numbers is written once a shape."""

    __slots__ = ("_around", "_name", "_planned", "_request_id", "_shapes", "_version")

    def __init__(self, name: str, version: str, request_id: str | None, planned: PlannedOutputs) -> None:
        self._name = name
        self._version = version
        self._request_id = request_id
        self._planned = planned
        self._shapes: list[tuple[int, ...]] | None = None
        self._around: list[bytes] = []

    def write(self, outputs: Batch) -> Answer:
        """The answer; of what is in shared memory it says where. A number that is not finite is null in JSON; as bytes it is
        what it is."""
        pieces: list[bytes] = []
        parts: list[bytes] = []
        shapes: list[tuple[int, ...]] = []
        sizes: list[int] = []
        for spec, is_binary, slot in self._planned:
            values = outputs[spec.name]
            shapes.append(values.shape)
            if slot is not None:
                continue
            if is_binary:
                part = tensor_to_bytes(values)
                parts.append(part)
                sizes.append(len(part))
                if spec.datatype == "BYTES":  # which are as long as their texts
                    self._shapes = None
            else:
                pieces.append(_encode(values.ravel().tolist()))
        if shapes != self._shapes:
            self._shapes = shapes
            self._around = self._written_around(shapes, sizes)
        around = self._around
        head = around[0]
        for place, piece in enumerate(pieces, start=1):
            head += piece + around[place]
        if not parts:
            return Answer(200, head)
        return Answer(200, b"".join((head, *parts)), OCTETS, [(HEAD_LENGTH, b"%d" % len(head))])

    def _written_around(self, shapes: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> list[bytes]:
        """The JSON of the answer, cut where the numbers of each output stand."""
        left = iter(sizes)
        listed: list[dict[str, Any]] = []
        for (spec, is_binary, slot), shape in zip(self._planned, shapes, strict=True):
            told: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": shape}
            if slot is not None:
                told["parameters"] = slot.told()
            elif is_binary:
                told["parameters"] = {"binary_data_size": next(left)}
            else:
                told["data"] = _CUT
            listed.append(told)
        body: dict[str, Any] = {"model_name": self._name, "model_version": self._version}
        if self._request_id is not None:
            body["id"] = self._request_id
        body["outputs"] = listed
        return msgspec.json.encode(body).split(b'"%b"' % _CUT.encode())

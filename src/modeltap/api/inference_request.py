"""The body of a /v2 inference request → what is asked: the envelope by msgspec, arrays of numbers beside it.

Source: the protocol's REST specification with its binary tensor data extension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from modeltap.api.body import check_json, parse_json
from modeltap.api.json_numbers import cut_arrays, mark
from modeltap.api.memory_slots import NO_MEMORY, CallerMemory, Slot
from modeltap.api.tensor_data import BinaryData, JsonData, TensorData
from modeltap.api.tensors import Tensor
from modeltap.data.cells import shown
from modeltap.domain.signature import Datatype
from modeltap.errors import InvalidInput, InvalidValue

_NO_DATA = msgspec.Raw(b"")


class _WireTensor(msgspec.Struct):
    """A tensor as the request has it; `data` is nested or flat, row-major."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: msgspec.Raw = _NO_DATA
    parameters: dict[str, Any] = {}


class _WireOutput(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _WireRequest(msgspec.Struct):
    inputs: list[_WireTensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[_WireOutput] | None = None


class WantedOutput(NamedTuple):
    """An output that is asked for; `is_binary` None is as the request says for all."""

    name: str
    is_binary: bool | None = None
    slot: Slot | None = None
    """Where in shared memory it is to be written."""


class InferRequest(NamedTuple):
    """What is asked, whatever protocol it came by."""

    tensors: list[Tensor]
    id: str | None = None
    outputs: list[WantedOutput] | None = None
    """None is all of them."""
    is_binary: bool = False
    """The form of outputs that are not asked for one by one."""
    timeout_us: int = 0
    """From its arrival; 0 is the deployment's own."""
    priority: int = 0
    """1 is the most urgent; larger ones wait for it. 0 is not said."""


_decode = msgspec.json.Decoder(_WireRequest).decode


def parse_request(body: bytes, *, head_bytes: int | None = None, memory: CallerMemory = NO_MEMORY) -> InferRequest:
    """The request in a body whose first `head_bytes` are JSON (all, if None), and tensors the rest, or in the caller's memory.

    Raises InvalidInput for what is no request, InvalidValue for a tensor whose data is not where it says, and what the memory
    raises.
    """
    if head_bytes is not None and head_bytes > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length is {head_bytes}, the whole body has {len(body)} bytes")
    head = body if head_bytes is None else body[:head_bytes]
    wire, blocks = _envelope(head)
    rest = None if head_bytes is None else memoryview(body)[head_bytes:]
    tensors = []
    place = 0
    for one in wire.inputs:
        data, place = _data(one, blocks, rest, place, memory)
        tensors.append(Tensor(one.name, one.datatype, tuple(one.shape), data))
    if rest is not None and place != len(rest):
        raise InvalidInput(f"{len(rest) - place} bytes are left behind the tensors; their binary_data_size do not add up")
    return InferRequest(
        tensors,
        wire.id,
        None if wire.outputs is None else [_wanted(output, memory) for output in wire.outputs],
        _flag(wire.parameters, "binary_data_output") or False,
        count_parameter(wire.parameters, "timeout"),
        count_parameter(wire.parameters, "priority"),
    )


def _envelope(head: bytes) -> tuple[_WireRequest, dict[bytes, bytes]]:
    """The request, and its arrays of numbers by the mark that stands in their place."""
    cut = cut_arrays(head)
    if cut is not None:
        text, blocks = cut
        check_json(text)
        try:
            wire = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            wire = None
        if wire is not None:
            marks = [mark(number) for number in range(len(blocks))]
            texts = [bytes(one.data) for one in wire.inputs]
            if texts == marks or [text for text in texts if text in marks] == marks:
                return wire, dict(zip(marks, blocks, strict=True))
    return _whole_envelope(head), {}


def _whole_envelope(head: bytes) -> _WireRequest:
    check_json(head)
    try:
        return _decode(head)
    except msgspec.ValidationError as problem:
        raise InvalidInput(f"this is not an inference request: {str(problem).replace('`', '')}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parse_json(head)  # says what is wrong with it
        raise InvalidInput("the body is not JSON") from None


def _data(
    tensor: _WireTensor, blocks: dict[bytes, bytes], rest: memoryview | None, place: int, memory: CallerMemory
) -> tuple[TensorData, int]:
    """The tensor's data, and where that of the next one begins among the bytes behind the JSON."""
    parameters = tensor.parameters
    name = shown(tensor.name)
    if parameters:
        content = memory.content(parameters, f"input {name}")
        if content is not None:
            if len(tensor.data) or "binary_data_size" in parameters:
                raise InvalidValue(f"input {name} is in shared memory, and in the request too; it is in one of them")
            return BinaryData(content), place
        if "binary_data_size" in parameters:
            size = parameters["binary_data_size"]
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                raise InvalidValue(f"input {name} has the binary_data_size {shown(size)}; it is a number of bytes")
            if rest is None:
                raise InvalidInput(
                    f"input {name} has a binary_data_size, and the request no header Inference-Header-Content-Length that says"
                    " where its bytes begin"
                )
            if len(tensor.data):
                raise InvalidValue(f"input {name} has both data and a binary_data_size")
            if place + size > len(rest):
                raise InvalidValue(f"input {name} says {size} bytes, {len(rest) - place} are left of the body")
            return BinaryData(rest[place : place + size]), place + size
    text = bytes(tensor.data)
    if not text:
        raise InvalidValue(f"input {name} has no data")
    if tensor.datatype == "FP16":
        raise InvalidValue(f"input {name} is FP16, which has no form in JSON; send it as binary data")
    block = blocks.get(text)
    return JsonData(text if block is None else block, is_cut=block is not None), place


def _wanted(output: _WireOutput, memory: CallerMemory) -> WantedOutput:
    parameters = output.parameters
    if not parameters:
        return WantedOutput(output.name)
    check_no_classes(parameters, output.name)
    slot = memory.output(parameters, output.name)
    return WantedOutput(output.name, _flag(parameters, "binary_data") if slot is None else True, slot)


def check_no_classes(parameters: Any, name: str) -> None:
    """Raises InvalidInput if the answer is to be sorted into classes."""
    if parameters.get("classification"):
        raise InvalidInput(
            f"output {shown(name)} is asked for as classes, which is not done here; ask for its numbers, and sort them"
        )


def count_parameter(parameters: dict[str, Any], name: str) -> int:
    """A parameter that is a whole number from 0 on; 0 if it is not there."""
    value = parameters.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise InvalidInput(f"the parameter '{name}' is {shown(value)}; it is a whole number from 0 on")
    return value


def _flag(parameters: dict[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"the parameter '{name}' is {shown(value)}; it is true or false")
    return value

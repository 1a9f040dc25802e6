"""gRPC's messages ⇄ what is asked and answered. The same request over HTTP gets the same answer."""

from __future__ import annotations

from typing import Any, get_args

from modeltap.api.inference_answer import PlannedOutputs
from modeltap.api.inference_request import (
    InferRequest,
    WantedOutput,
    check_no_classes,
    count_parameter,
)
from modeltap.api.memory_slots import NO_MEMORY, REGION, CallerMemory
from modeltap.api.tensor_data import BinaryData, PlainData, TensorData
from modeltap.api.tensors import Tensor
from modeltap.data.cells import shown
from modeltap.data.tensor_bytes import tensor_to_bytes
from modeltap.domain.signature import Batch, Datatype
from modeltap.errors import InvalidInput, InvalidValue, nearest

CONTENTS: dict[Datatype, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Which field of a tensor's contents holds its values; FP16 has none."""

DATATYPES = frozenset(get_args(Datatype))


def is_in_memory(message: Any) -> bool:
    """Whether a tensor of a ModelInferRequest is to be read from shared memory."""
    return any(REGION in tensor.parameters for tensor in message.inputs)


def read_request(message: Any, memory: CallerMemory = NO_MEMORY) -> InferRequest:
    """What a ModelInferRequest asks. Raises InvalidInput, InvalidValue, and as `CallerMemory`."""
    raw = message.raw_input_contents
    contents = [_content(tensor, memory) for tensor in message.inputs]
    if raw:
        for tensor in message.inputs:
            if tensor.HasField("contents"):
                raise InvalidInput(
                    f"contents field must not be specified when using raw_input_contents for '{tensor.name[:80]}' for model"
                    f" '{message.model_name[:80]}'"
                )
        if len(raw) != contents.count(None):
            raise InvalidInput(f"there are {len(raw)} raw_input_contents for {contents.count(None)} inputs; send one for each")
        left = iter(raw)
        contents = [next(left) if content is None else content for content in contents]
    parameters = _plain(message.parameters)
    return InferRequest(
        [_tensor(tensor, content) for tensor, content in zip(message.inputs, contents, strict=True)],
        message.id or None,
        [_wanted(output, memory) for output in message.outputs] or None,
        True,
        count_parameter(parameters, "timeout"),
        count_parameter(parameters, "priority"),
    )


def write_response(response: Any, planned: PlannedOutputs, outputs: Batch) -> Any:
    """The ModelInferResponse, filled with the outputs as raw contents; of what is in shared memory it says where."""
    for spec, _, slot in planned:
        values = outputs[spec.name]
        told = response.outputs.add(name=spec.name, datatype=spec.datatype, shape=values.shape)
        if slot is None:
            response.raw_output_contents.append(tensor_to_bytes(values))
            continue
        for name, value in slot.told().items():
            setattr(told.parameters[name], "string_param" if isinstance(value, str) else "int64_param", value)
        response.raw_output_contents.append(b"")  # so that the next one's content has the next one's place
    return response


def _content(tensor: Any, memory: CallerMemory) -> bytearray | None:
    """What an input in shared memory holds."""
    if not tensor.parameters:
        return None
    content = memory.content(_plain(tensor.parameters), f"input {shown(tensor.name)}")
    if content is not None and tensor.HasField("contents"):
        raise InvalidValue(f"input {shown(tensor.name)} is in shared memory, and in the request too; it is in one of them")
    return content


def _tensor(tensor: Any, raw: bytes | bytearray | None) -> Tensor:
    name, datatype = tensor.name, tensor.datatype
    if datatype not in DATATYPES:
        raise InvalidValue(f"input {shown(name)} has the datatype {shown(datatype)}{nearest(datatype, DATATYPES)}")
    return Tensor(name, datatype, tuple(tensor.shape), _data(tensor, datatype, raw))


def _data(tensor: Any, datatype: Datatype, raw: bytes | bytearray | None) -> TensorData:
    if raw is not None:
        return BinaryData(raw)
    if datatype not in CONTENTS:
        raise InvalidValue(f"input {shown(tensor.name)} is {datatype}, which has no contents field; send raw_input_contents")
    return PlainData(getattr(tensor.contents, CONTENTS[datatype]))


def _wanted(output: Any, memory: CallerMemory) -> WantedOutput:
    if not output.parameters:
        return WantedOutput(output.name, True)
    parameters = _plain(output.parameters)
    check_no_classes(parameters, output.name)
    return WantedOutput(output.name, True, memory.output(parameters, output.name))


def _plain(parameters: Any) -> dict[str, Any]:
    """The value of each parameter, whichever of its fields holds it."""
    plain = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            plain[name] = getattr(parameter, choice)
    return plain

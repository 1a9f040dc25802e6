"""The messages of our table are those that the protocol's own clients were generated from."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2
from tritonclient.grpc import model_config_pb2, service_pb2

from modeltap.api.grpc_calls import InferenceCalls
from modeltap.api.grpc_messages import INFERENCE, PACKAGE, SERVICE, file_of, message_class
from modeltap.api.memory_regions import MemoryRegions

IN_PART = {"ModelConfig", "ModelVersionPolicy", "ModelInput", "ModelOutput", "ModelInstanceGroup", "ModelDynamicBatching"}
IN_PART |= {"ModelStatistics", "RepositoryModelLoadRequest", "RepositoryModelUnloadRequest", "SystemSharedMemoryStatusResponse"}
IN_PART |= {"SystemSharedMemoryRegisterRequest", "CudaSharedMemoryStatusResponse", "CudaSharedMemoryRegisterRequest"}
"""Messages of which only some fields are used here."""


def described(module: Any) -> Any:
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


def facts(file: Any) -> tuple[dict[str, set[Any]], dict[str, dict[str, int]]]:
    """Dotted message name → its fields, and dotted enum name → its values."""
    messages: dict[str, set[Any]] = {}
    enums = {one.name: {value.name: value.number for value in one.value} for one in file.enum_type}

    def walk(message: Any, path: str) -> None:
        messages[path] = {
            (
                f.name,
                f.number,
                f.label,
                f.type,
                f.type_name,
                message.oneof_decl[f.oneof_index].name if f.HasField("oneof_index") else "",
            )
            for f in message.field
        }
        for one in message.enum_type:
            enums[f"{path}.{one.name}"] = {value.name: value.number for value in one.value}
        for inner in message.nested_type:
            walk(inner, f"{path}.{inner.name}")

    for message in file.message_type:
        walk(message, message.name)
    return messages, enums


def test_every_message_is_the_protocols_own():
    ours, our_enums = facts(file_of(PACKAGE, INFERENCE))
    theirs, their_enums = {}, {}
    for module in (service_pb2, model_config_pb2):
        messages, enums = facts(described(module))
        theirs |= messages
        their_enums |= enums
    for name, fields in ours.items():
        if name.split(".")[0] in IN_PART:
            assert fields <= theirs[name], name
        else:
            assert fields == theirs[name], name
    for name, values in our_enums.items():
        assert values == their_enums[name]


def test_the_methods_are_the_protocols_own_with_messages_of_their_names():
    service = described(service_pb2).service[0]
    assert f"inference.{service.name}" == SERVICE
    theirs = {method.name: (method.input_type, method.output_type) for method in service.method}
    for name in InferenceCalls(None, MemoryRegions(None), max_body_bytes=1).methods:  # type: ignore[arg-type]
        assert theirs[name] == (f".inference.{name}Request", f".inference.{name}Response")
        message_class(f"{name}Request"), message_class(f"{name}Response")
    left = set(theirs) - set(InferenceCalls(None, MemoryRegions(None), max_body_bytes=1).methods)  # type: ignore[arg-type]
    assert left == {"ModelStreamInfer", "TraceSetting", "LogSettings"}


def test_bytes_of_one_side_are_read_by_the_other():
    ours = message_class("ModelInferRequest")(model_name="digits", id="7", raw_input_contents=[b"\x00\x01"])
    ours.parameters["timeout"].int64_param = 5
    tensor = ours.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([0.5, -1.0])
    theirs = service_pb2.ModelInferRequest.FromString(ours.SerializeToString())
    assert theirs.model_name == "digits" and list(theirs.inputs[0].contents.fp32_contents) == [0.5, -1.0]
    assert message_class("ModelInferRequest").FromString(theirs.SerializeToString()) == ours

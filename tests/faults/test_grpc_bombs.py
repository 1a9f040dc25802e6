"""What no client should send over gRPC: each call ends in the status of its fault, the server's memory stays what it was, and
the next call is answered."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from door_world import Growth, key_of
from fault_server import FaultServer
from tritonclient.grpc import service_pb2, service_pb2_grpc

INFER = "/inference.GRPCInferenceService/ModelInfer"
ROW = struct.pack("<4f", 1, 2, 3, 4)
MEGABYTES = 200
OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 26), ("grpc.enable_retries", 0))


@pytest.fixture(scope="module")
def channel(door: FaultServer) -> Iterator[grpc.Channel]:
    address = json.loads((door.home / "server.json").read_text())["grpc"]
    with grpc.insecure_channel(address, options=OPTIONS) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.Channel, door: FaultServer) -> Iterator[Any]:
    made = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    yield made
    answer = made.ModelInfer(asked(), metadata=key(door))
    assert struct.unpack("<4f", answer.raw_output_contents[0]) == (2, 4, 6, 8)


def key(server: FaultServer) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key_of(server)}"),)


def asked(
    model: str = "double", *, name: str = "x", shape: Any = (1, 4), datatype: str = "FP32", raw: Any = (ROW,), **more: Any
) -> Any:
    made = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=list(raw), **more)
    made.inputs.add(name=name, datatype=datatype, shape=shape)
    return made


def with_contents(**contents: Any) -> Any:
    made = asked(raw=())
    for field, values in contents.items():
        getattr(made.inputs[0].contents, field).extend(values)
    return made


def with_parameter(**parameters: Any) -> Any:
    made = asked()
    for name, value in parameters.items():
        made.parameters[name].CopyFrom(service_pb2.InferParameter(**value))
    return made


def in_shared_memory() -> Any:
    made = asked(raw=())
    made.inputs[0].parameters["shared_memory_region"].string_param = "region"
    return made


def of_words(*raw: bytes, shape: Any = (1, 4)) -> Any:
    return asked("words", name="INPUT0", shape=shape, datatype="BYTES", raw=raw)


def elements(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


INVALID = {
    "no inputs": service_pb2.ModelInferRequest(model_name="double"),
    "no contents": asked(raw=()),
    "more raw contents than inputs": asked(raw=(ROW, ROW)),
    "raw contents and typed ones": service_pb2.ModelInferRequest.FromString(
        with_contents(fp32_contents=[1, 2, 3, 4]).SerializeToString() + asked().SerializeToString()
    ),
    "too few bytes": asked(raw=(ROW[:-1],)),
    "too many bytes": asked(raw=(ROW + b"\0",)),
    "no bytes": asked(raw=(b"",)),
    "a negative extent": asked(shape=(-1, 4)),
    "two negative extents": asked(shape=(-1, -4)),
    "an extent of 2^62": asked(shape=(2**62, 4)),
    "extents whose product is 2^64": asked(shape=(2**60, 16)),
    "no rows": asked(shape=(0, 4), raw=(b"",)),
    "no extents": asked(shape=()),
    "100,000 extents": asked(shape=(1,) * 100_000),
    "an unknown datatype": asked(datatype="FP99"),
    "another datatype": asked(datatype="BYTES", raw=(bytes(16),)),
    "an unknown input": asked(name="y"),
    "an input of a megabyte's name": asked(name="n" * 1_000_000),
    "contents of another type": with_contents(int64_contents=[1, 2, 3, 4]),
    "one value too few": with_contents(fp32_contents=[1, 2, 3]),
    "an unknown output": asked(outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="z")]),
    "an output twice": asked(outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="y")] * 2),
    "a negative time": with_parameter(timeout={"int64_param": -1}),
    "a text for a time": with_parameter(timeout={"string_param": "soon"}),
    "shared memory": in_shared_memory(),
    "a version that is none": asked(model_version="latest"),
    "an element longer than all": of_words(struct.pack("<I", 2**32 - 1) + b"a" * 16),
    "an element too few": of_words(elements(b"a", b"b", b"c")),
    "an element too many": of_words(elements(b"a", b"b", b"c", b"d", b"e")),
    "a text that is none": of_words(elements(b"\xff", b"b", b"c", b"d")),
    "2^33 elements in 16 bytes": of_words(bytes(16), shape=(2**31, 4)),
    "2^42 elements in none": of_words(b"", shape=(2**40, 4)),
}


@pytest.mark.parametrize("what", INVALID)
def test_a_request_that_is_not_what_it_says_is_invalid(door: FaultServer, stub: Any, what: str) -> None:
    with Growth(door) as growth, pytest.raises(grpc.RpcError) as failed:
        stub.ModelInfer(INVALID[what], metadata=key(door))
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT, failed.value
    told = failed.value.details()
    assert told and len(told) < 2_000 and "Traceback" not in told and ".py" not in told
    assert growth.megabytes < MEGABYTES


def test_bytes_that_are_no_message_are_no_call(door: FaultServer, channel: grpc.Channel, stub: Any) -> None:
    bare = channel.unary_unary(INFER)
    for content in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a" * 1_000_000, b"\x2b" * 10_000):
        with pytest.raises(grpc.RpcError) as failed:
            bare(content, metadata=key(door))
        assert failed.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT), failed.value
        assert ".py" not in str(failed.value.details())


def test_a_message_that_is_too_large_is_refused_unread(door: FaultServer, stub: Any) -> None:
    with Growth(door) as growth, pytest.raises(grpc.RpcError) as failed:
        stub.ModelInfer(asked(shape=(50_000_000, 4), raw=(bytes(100_000_000),)), metadata=key(door))
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, failed.value
    assert growth.megabytes < MEGABYTES


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_message_that_unpacks_to_200_megabytes_is_refused(door: FaultServer, stub: Any, compression: Any) -> None:
    """It is packed into a fifth of a megabyte."""
    with Growth(door) as growth, pytest.raises(grpc.RpcError) as failed:
        stub.ModelInfer(asked(raw=(bytes(200_000_000),)), metadata=key(door), compression=compression)
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, failed.value
    assert growth.megabytes < MEGABYTES


def test_metadata_that_is_wrong_opens_nothing(door: FaultServer, stub: Any) -> None:
    right = key_of(door)
    for metadata in (
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", right),),
        (("authorization", "Basic !!!"),),
        (("x-api-key", "mt-wrong"),),
        (("x-api-key", "mt-wrong"), ("authorization", f"Bearer {right}")),
        (("authorization-bin", f"Bearer {right}".encode()),),
        (("authorization", f"Bearer {right}x"),),
    ):
        with pytest.raises(grpc.RpcError) as failed:
            stub.ModelInfer(asked(), metadata=metadata)
        assert failed.value.code() == grpc.StatusCode.UNAUTHENTICATED, metadata
        assert right not in failed.value.details()
    with pytest.raises(grpc.RpcError) as failed:
        stub.ModelInfer(asked(), metadata=(*key(door), ("x-filler", "a" * 1_000_000)))
    assert failed.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)


def test_the_id_of_a_request_is_a_sane_one(door: FaultServer, stub: Any) -> None:
    for given, is_taken in (("one-2.3", True), ("a" * 200, False), ("a b", False)):
        _, call = stub.ModelInfer.with_call(asked(), metadata=(*key(door), ("x-request-id", given)))
        found = dict(call.trailing_metadata())["x-request-id"]
        assert (found == given) == is_taken


def test_a_stream_tells_of_each_fault_and_goes_on(door: FaultServer, stub: Any) -> None:
    questions = [asked(), *(INVALID[what] for what in ("no contents", "a negative extent", "an unknown input")), asked()]
    answers = list(stub.ModelStreamInfer(iter(questions), metadata=key(door)))
    assert [bool(answer.error_message) for answer in answers] == [False, True, True, True, False]
    answers = list(stub.ModelStreamInfer(iter([asked()])))
    assert [bool(answer.error_message) for answer in answers] == [True], "without a key"

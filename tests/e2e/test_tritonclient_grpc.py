"""NVIDIA's own client library over gRPC against a real server, waiting and not, as its published examples use it."""

from __future__ import annotations

import asyncio
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
from triton_scenes import (
    MODELS,
    PACKED,
    UNKNOWN,
    WAIT_S,
    WITH_ZEROS,
    check,
    check_texts,
    grpc_inputs,
    grpc_outputs,
    text_inputs,
)
from tritonclient import utils
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.http.auth import BasicAuth
from tritonclient.utils import InferenceServerException


@pytest.mark.parametrize("packing", PACKED)
def test_grpc_infer(over_grpc, packing):
    asked = {"inputs": grpc_inputs(), "compression_algorithm": packing}
    check(over_grpc.infer(model_name="simple", outputs=grpc_outputs(), client_timeout=WAIT_S, headers={"test": "1"}, **asked))
    check(over_grpc.infer(model_name="simple", outputs=None, **asked))
    assert len(over_grpc.get_inference_statistics(model_name="simple").model_stats) == 1


def test_grpc_async_infer(over_grpc):
    came: Queue[Any] = Queue()

    def callback(number: int, result: Any, error: Any) -> None:
        came.put((number, result, error))

    for number in range(8):
        over_grpc.async_infer(
            model_name="simple",
            inputs=grpc_inputs(),
            callback=lambda result, error, number=number: callback(number, result, error),
            outputs=grpc_outputs(),
        )
    numbers = set()
    for _ in range(8):
        number, result, error = came.get(timeout=WAIT_S)
        assert error is None
        check(result)
        numbers.add(number)
    assert numbers == set(range(8))


def test_grpc_health_and_metadata(over_grpc):
    assert over_grpc.is_server_live(headers={"test": "1", "dummy": "2"}) and over_grpc.is_server_ready()
    assert over_grpc.is_model_ready("simple") and not over_grpc.is_model_ready("wrong_model_name")
    assert over_grpc.get_server_metadata().name == "modeltap"
    assert over_grpc.get_model_metadata("simple", headers={"test": "1"}).name == "simple"
    assert over_grpc.get_model_metadata("simple", as_json=True)["inputs"][0]["datatype"] == "INT32"
    assert over_grpc.get_model_config("simple").config.name == "simple"
    assert set(MODELS) <= {model.name for model in over_grpc.get_model_repository_index().models}
    with pytest.raises(InferenceServerException) as problem:
        over_grpc.get_model_metadata("wrong_model_name")
    assert problem.value.message() == UNKNOWN and problem.value.status() == "StatusCode.NOT_FOUND"


def test_grpc_strings(over_grpc):
    check_texts(over_grpc.infer(model_name="simple_string", inputs=text_inputs(grpc_client), outputs=grpc_outputs()))
    for values in WITH_ZEROS:
        given = grpc_client.InferInput("INPUT0", values.shape, "BYTES").set_data_from_numpy(values)
        result = over_grpc.infer("simple_identity", [given]).as_numpy("OUTPUT0")
        assert result.tolist() == values.astype(np.object_).tolist()


def test_grpc_aio(address):
    async def talk() -> None:
        async with grpc_aio.InferenceServerClient(address.grpc) as client:
            client.register_plugin(BasicAuth("any", address.key))
            assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("simple")
            assert (await client.get_server_metadata()).name == "modeltap"
            assert (await client.get_model_metadata("simple")).name == "simple"
            assert (await client.get_model_config("simple")).config.name == "simple"
            check(await client.infer("simple", grpc_inputs(grpc_aio), outputs=grpc_outputs(grpc_aio)))
            assert len((await client.get_inference_statistics("simple")).model_stats) == 1
            check_texts(await client.infer("simple_string", text_inputs(grpc_aio)))
            for values in WITH_ZEROS:
                given = grpc_aio.InferInput("INPUT0", values.shape, "BYTES").set_data_from_numpy(values)
                result = await client.infer("simple_identity", [given])
                assert result.as_numpy("OUTPUT0").tolist() == values.astype(np.object_).tolist()
            with pytest.raises(InferenceServerException) as problem:
                await client.get_model_metadata("wrong_model_name")
            assert problem.value.message() == UNKNOWN
            at_once = [client.infer("simple", grpc_inputs(grpc_aio)) for _ in range(8)]
            for result in await asyncio.gather(*at_once):
                check(result)

            async def asked() -> Any:
                for number in range(3):
                    yield {"model_name": "simple", "inputs": grpc_inputs(grpc_aio), "request_id": str(number)}

            ids = []
            async for result, error in client.stream_infer(asked()):
                assert error is None
                check(result)
                ids.append(result.get_response().id)
            assert ids == ["0", "1", "2"]

    asyncio.run(talk())


def test_grpc_channels_with_arguments_and_keepalive_of_their_own(address):
    arguments = [("grpc.max_send_message_length", 1 << 20), ("grpc.keepalive_time_ms", 2**31 - 1)]
    keepalive = grpc_client.KeepAliveOptions(2**31 - 1, 20000, False, 2)
    for options in ({"channel_args": arguments}, {"keepalive_options": keepalive}):
        with grpc_client.InferenceServerClient(address.grpc, **options) as client:
            check(client.infer("simple", grpc_inputs(), outputs=grpc_outputs(), headers=address.headers))


def explicit(model: str, field: str, datatype: str, values: list[list[Any]]) -> Any:
    """A request whose tensors are typed contents, made from the protocol's own messages."""
    asked = service_pb2.ModelInferRequest(model_name=model)
    for number, elements in enumerate(values):
        tensor = asked.inputs.add(name=f"INPUT{number}", datatype=datatype, shape=[1, 16])
        getattr(tensor.contents, field).extend(elements)
        asked.outputs.add(name=f"OUTPUT{number}")
    return asked


def test_grpc_calls_made_from_the_protocol_alone(address):
    numbers = np.arange(16, dtype=np.int32).reshape(1, 16)
    with grpc.insecure_channel(address.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        key = {"metadata": address.metadata}
        assert (
            stub.ServerLive(service_pb2.ServerLiveRequest()).live and stub.ServerReady(service_pb2.ServerReadyRequest()).ready
        )
        assert stub.ModelReady(service_pb2.ModelReadyRequest(name="simple", version=""), **key).ready
        assert stub.ServerMetadata(service_pb2.ServerMetadataRequest(), **key).name == "modeltap"
        told = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="simple", version=""), **key)
        assert next((one.name, one.datatype, list(one.shape)) for one in told.inputs) == ("INPUT0", "INT32", [1, 16])
        config = stub.ModelConfig(service_pb2.ModelConfigRequest(name="simple", version=""), **key).config
        assert config.name == "simple" and [one.name for one in config.output] == ["OUTPUT0", "OUTPUT1"]
        asked = service_pb2.ModelInferRequest(model_name="simple", id="my request id")
        for name in ("INPUT0", "INPUT1"):
            asked.inputs.add(name=name, datatype="INT32", shape=[1, 16])
            asked.raw_input_contents.append(numbers.tobytes())
        asked.outputs.add(name="OUTPUT1")
        answer = stub.ModelInfer(asked, **key)
        assert answer.id == "my request id" and [one.name for one in answer.outputs] == ["OUTPUT1"]
        assert np.frombuffer(answer.raw_output_contents[0], dtype=np.int32).tolist() == [0] * 16


def test_grpc_explicit_contents(address):
    numbers = [list(range(16)), [1] * 16]
    sums, differences = [n + 1 for n in range(16)], [n - 1 for n in range(16)]
    with grpc.insecure_channel(address.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for model, datatype, dtype in (("simple", "INT32", np.int32), ("simple_int8", "INT8", np.int8)):
            asked = explicit(model, "int_contents", datatype, numbers)
            answer = stub.ModelInfer(asked, metadata=address.metadata)
            given = [np.frombuffer(raw, dtype=dtype).tolist() for raw in answer.raw_output_contents]
            assert given == [sums, differences]
            asked.model_version = "wrong_specification"
            with pytest.raises(grpc.RpcError, match="failed to get model version from specified version string 'wrong_spec"):
                stub.ModelInfer(asked, metadata=address.metadata)
        both = explicit("simple", "int_contents", "INT32", [numbers[0][8:], numbers[1]])
        both.raw_input_contents.append(np.arange(8, dtype=np.int32).tobytes())
        told = "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'simple'"
        with pytest.raises(grpc.RpcError, match=told):
            stub.ModelInfer(both, metadata=address.metadata)
        words = explicit("simple_string", "bytes_contents", "BYTES", [[str(n).encode() for n in row] for row in numbers])
        answer = stub.ModelInfer(words, metadata=address.metadata)
        given = [[int(text) for text in utils.deserialize_bytes_tensor(raw)] for raw in answer.raw_output_contents]
        assert given == [sums, differences]

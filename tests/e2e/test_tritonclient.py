"""NVIDIA's own client library against a real server, over HTTP and gRPC, waiting and not, as its published examples use it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from queue import Queue
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from fault_server import FaultServer, serving
from foreign_graphs import identity, save, sum_and_difference, text_sum_and_difference
from onnx import TensorProto
from tritonclient import utils
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.http.auth import BasicAuth
from tritonclient.utils import InferenceServerException

MODELS = {
    "simple": sum_and_difference(TensorProto.INT32),
    "simple_int8": sum_and_difference(TensorProto.INT8),
    "simple_string": text_sum_and_difference(),
    "simple_identity": identity(axes=("N", 16)),
}
INPUT0 = np.arange(16, dtype=np.int32).reshape(1, 16)
INPUT1 = np.full((1, 16), -1, dtype=np.int32)
UNKNOWN = "Request for unknown model: 'wrong_model_name' is not found"
WAIT_S = 60.0


class Address(NamedTuple):
    """Where the server is, without a scheme, as the library wants it; and its key."""

    http: str
    grpc: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"),)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    folder = tmp_path_factory.mktemp("triton")
    with serving(folder / "home") as server:
        for name, model in MODELS.items():
            path = save(model, folder, f"{name}.onnx")
            server.ask("POST", "/api/models/import", params={"name": name}, content=path.read_bytes())
            server.ask("POST", "/api/deployments", json={"name": name, "model": f"{name}@1"})
        yield server


@pytest.fixture(scope="module")
def address(served: FaultServer) -> Address:
    facts = json.loads((served.home / "server.json").read_text())
    key = (served.home / "admin.key").read_text().strip()
    return Address(facts["url"].removeprefix("http://"), facts["grpc"], key)


@pytest.fixture
def http(address: Address) -> Iterator[http_client.InferenceServerClient]:
    with http_client.InferenceServerClient(address.http, concurrency=4) as client:
        client.register_plugin(BasicAuth("any", address.key))
        yield client


@pytest.fixture
def over_grpc(address: Address) -> Iterator[grpc_client.InferenceServerClient]:
    with grpc_client.InferenceServerClient(address.grpc) as client:
        client.register_plugin(BasicAuth("any", address.key))
        yield client


def http_inputs(module: Any = http_client) -> list[Any]:
    """One tensor as JSON, one as bytes, as the example has them."""
    inputs = [module.InferInput(f"INPUT{n}", [1, 16], "INT32") for n in (0, 1)]
    inputs[0].set_data_from_numpy(INPUT0, binary_data=False)
    inputs[1].set_data_from_numpy(INPUT1, binary_data=True)
    return inputs


def http_outputs(module: Any = http_client) -> list[Any]:
    return [module.InferRequestedOutput("OUTPUT0", binary_data=True), module.InferRequestedOutput("OUTPUT1", binary_data=False)]


def grpc_inputs(module: Any = grpc_client) -> list[Any]:
    inputs = [module.InferInput(f"INPUT{n}", [1, 16], "INT32") for n in (0, 1)]
    inputs[0].set_data_from_numpy(INPUT0)
    inputs[1].set_data_from_numpy(INPUT1)
    return inputs


def grpc_outputs(module: Any = grpc_client) -> list[Any]:
    return [module.InferRequestedOutput(f"OUTPUT{n}") for n in (0, 1)]


def check(result: Any) -> None:
    assert (result.as_numpy("OUTPUT0") == INPUT0 + INPUT1).all()
    assert (result.as_numpy("OUTPUT1") == INPUT0 - INPUT1).all()


PACKED = [None, "gzip", "deflate"]


@pytest.mark.parametrize("asked", PACKED)
@pytest.mark.parametrize("sent", PACKED)
def test_http_infer(http, sent, asked):
    packing = {"request_compression_algorithm": sent, "response_compression_algorithm": asked}
    query = {"test_1": 1, "test_2": 2}
    chosen = http.infer("simple", http_inputs(), outputs=http_outputs(), query_params=query, **packing)
    check(chosen)
    forms = {one["name"]: "data" in one for one in chosen.get_response()["outputs"]}
    assert forms == {"OUTPUT0": False, "OUTPUT1": True}
    every = http.infer("simple", http_inputs(), outputs=None, query_params=query, **packing)
    check(every)
    assert [one["name"] for one in every.get_response()["outputs"]] == ["OUTPUT0", "OUTPUT1"]
    assert len(http.get_inference_statistics(model_name="simple")["model_stats"]) == 1


def test_http_infer_of_a_model_that_is_not_there(http):
    with pytest.raises(InferenceServerException) as problem:
        http.infer("wrong_model_name", http_inputs(), outputs=http_outputs())
    assert problem.value.message() == UNKNOWN and problem.value.status() == "404"


def test_http_with_the_key_in_a_header_and_without_one(address):
    with http_client.InferenceServerClient(address.http) as client:
        check(client.infer("simple", http_inputs(), outputs=http_outputs(), headers=address.headers))
        assert client.is_server_live() and client.is_server_ready()
        with pytest.raises(InferenceServerException) as problem:
            client.infer("simple", http_inputs())
        assert problem.value.status() == "401"


def test_http_async_infer(http):
    waiting = [http.async_infer("simple", http_inputs(), outputs=http_outputs(), request_id=str(n)) for n in range(8)]
    for number, one in enumerate(waiting):
        result = one.get_result()
        check(result)
        assert result.get_response()["id"] == str(number)


def test_http_health_and_metadata(http):
    assert http.is_server_live(query_params={"test_1": 1}) and http.is_server_ready() and http.is_model_ready("simple")
    assert not http.is_model_ready("wrong_model_name")
    assert http.get_server_metadata()["name"] == "modeltap"
    metadata = http.get_model_metadata("simple", query_params={"test_1": 1, "test_2": 2})
    assert metadata["name"] == "simple" and metadata["versions"] == ["1"]
    assert metadata["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16]}
    assert http.get_model_metadata("simple", model_version="1") == metadata
    config = http.get_model_config("simple")
    assert config["name"] == "simple" and config["max_batch_size"] == 0 and config["input"][0]["data_type"] == "TYPE_INT32"
    assert {model["name"] for model in http.get_model_repository_index()} == set(MODELS)
    assert {one["name"] for one in http.get_inference_statistics()["model_stats"]} <= set(MODELS)
    with pytest.raises(InferenceServerException) as problem:
        http.get_model_metadata("wrong_model_name")
    assert problem.value.message() == UNKNOWN


def texts(values: np.ndarray) -> np.ndarray:
    return np.array([str(value).encode() for value in values.reshape(-1)], dtype=np.object_).reshape(values.shape)


def test_http_strings(http):
    inputs = [http_client.InferInput(f"INPUT{n}", [1, 16], "BYTES") for n in (0, 1)]
    inputs[0].set_data_from_numpy(texts(INPUT0), binary_data=True)
    inputs[1].set_data_from_numpy(texts(INPUT1), binary_data=False)
    result = http.infer(model_name="simple_string", inputs=inputs, outputs=http_outputs())
    assert [int(text) for text in result.as_numpy("OUTPUT0")[0]] == (INPUT0 + INPUT1)[0].tolist()
    assert [int(text) for text in result.as_numpy("OUTPUT1")[0]] == (INPUT0 - INPUT1)[0].tolist()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("sent", [b"he\x00llo", b"\x00\x01\x02\x03"])
@pytest.mark.parametrize("dtype", [np.object_, np.bytes_])
def test_http_strings_with_zeros_in_them(http, sent, dtype, binary):
    values = np.array([sent] * 16, dtype=dtype).reshape(1, 16)
    if dtype is np.bytes_:
        sent = bytes(values[0, 0])  # numpy drops zeros at the end
    given = http_client.InferInput("INPUT0", values.shape, "BYTES")
    given.set_data_from_numpy(values, binary_data=binary)
    wanted = [http_client.InferRequestedOutput("OUTPUT0", binary_data=binary)]
    result = http.infer(model_name="simple_identity", inputs=[given], outputs=wanted).as_numpy("OUTPUT0")
    assert [text if isinstance(text, bytes) else str(text).encode() for text in result.reshape(-1)] == [sent] * 16


def test_http_aio(address):
    async def talk() -> None:
        async with http_aio.InferenceServerClient(address.http) as client:
            client.register_plugin(BasicAuth("any", address.key))
            assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("simple")
            assert (await client.get_server_metadata())["name"] == "modeltap"
            assert (await client.get_model_metadata("simple"))["name"] == "simple"
            assert (await client.get_model_config("simple"))["name"] == "simple"
            for packing in PACKED:
                packed = {"request_compression_algorithm": packing, "response_compression_algorithm": packing}
                check(await client.infer("simple", http_inputs(http_aio), outputs=http_outputs(http_aio), **packed))
            assert len((await client.get_inference_statistics(model_name="simple"))["model_stats"]) == 1
            with pytest.raises(InferenceServerException) as problem:
                await client.infer("wrong_model_name", http_inputs(http_aio), outputs=http_outputs(http_aio))
            assert problem.value.message() == UNKNOWN
            at_once = [client.infer("simple", http_inputs(http_aio)) for _ in range(8)]
            for result in await asyncio.gather(*at_once):
                check(result)

    asyncio.run(talk())


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
    assert {model.name for model in over_grpc.get_model_repository_index().models} == set(MODELS)
    with pytest.raises(InferenceServerException) as problem:
        over_grpc.get_model_metadata("wrong_model_name")
    assert problem.value.message() == UNKNOWN and problem.value.status() == "StatusCode.NOT_FOUND"


def test_grpc_strings(over_grpc):
    inputs = [grpc_client.InferInput(f"INPUT{n}", [1, 16], "BYTES") for n in (0, 1)]
    inputs[0].set_data_from_numpy(texts(INPUT0))
    inputs[1].set_data_from_numpy(texts(INPUT1))
    result = over_grpc.infer(model_name="simple_string", inputs=inputs, outputs=grpc_outputs())
    assert [int(text) for text in result.as_numpy("OUTPUT0")[0]] == (INPUT0 + INPUT1)[0].tolist()
    values = np.array([b"he\x00llo"] * 16, dtype=np.object_).reshape(1, 16)
    given = grpc_client.InferInput("INPUT0", values.shape, "BYTES").set_data_from_numpy(values)
    assert over_grpc.infer("simple_identity", [given]).as_numpy("OUTPUT0").tolist() == values.tolist()


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


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tensors_of_the_client_are_used_again(protocol, http, over_grpc):
    client, inputs, outputs = (
        (http, http_inputs(), http_outputs()) if protocol == "http" else (over_grpc, grpc_inputs(), grpc_outputs())
    )
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    for factor in (1, 2, 3):
        inputs[1].set_data_from_numpy(INPUT1 * factor)
        result = client.infer(model_name="simple", inputs=inputs, outputs=outputs)
        assert (result.as_numpy("OUTPUT0") == INPUT0 + INPUT1 * factor).all()
    with pytest.raises(InferenceServerException, match="shared memory"):
        client.register_system_shared_memory("input0", "/input0", 64)
    inputs[0].set_shared_memory("input0", 64)
    with pytest.raises(InferenceServerException, match="shared memory"):
        client.infer(model_name="simple", inputs=inputs, outputs=outputs)
    with pytest.raises(InferenceServerException, match="failed to load 'simple'"):
        client.load_model("simple")


def test_a_model_is_imported_from_the_command_line(served, address, tmp_path):
    folder = tmp_path / "outside"
    save(
        sum_and_difference(TensorProto.FLOAT, ("N", 3)), folder, save_as_external_data=True, size_threshold=0, location="w.bin"
    )
    key, url = address.key, f"http://{address.http}"

    def modeltap(*words: str) -> Any:
        command = [sys.executable, "-m", "modeltap", *words, "--url", url, "--key", key, "--home", str(tmp_path), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = modeltap("models", "import", str(folder), "--name", "rows")
    assert made["id"] == "rows@1" and made["task"] == "tensors" and made["notices"] == []
    assert modeltap("deploy", "rows@1", "--name", "rows")["name"] == "rows"
    body = {"instances": [{"INPUT0": [1, 2, 3], "INPUT1": [1, 1, 1]}]}
    answer = served.ask("POST", "/predict/rows", json=body)
    assert answer["predictions"] == [{"OUTPUT0": [2.0, 3.0, 4.0], "OUTPUT1": [0.0, 1.0, 2.0]}]

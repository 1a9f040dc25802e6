"""The gRPC door: the same answers as over HTTP, each failure with its status, and nothing kept for a client that left."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from served_graphs import DATATYPES, binary_body, from_binary, read_outputs, to_binary
from tritonclient.grpc import service_pb2, service_pb2_grpc
from workshop import KEY, MAX_BODY_BYTES, Plane

from modeltap.api.grpc import GrpcServer
from modeltap.api.grpc_messages import message_class
from modeltap.api.grpc_status import DETAILS, PUSHBACK, retry_metadata, status_name
from modeltap.api.grpc_tensors import CONTENTS
from modeltap.errors import BudgetSpent, Conflict, InvalidValue, Loading, RateLimited

WITH_KEY = (("authorization", f"Bearer {KEY}"),)
WAIT_S = 60.0


def new_server(graphs: Plane) -> GrpcServer:
    data = graphs.data
    return GrpcServer(
        data.plane, data.open_call, graphs.watching.watch, data.activity, data.regions, max_body_bytes=MAX_BODY_BYTES
    )


@pytest.fixture(scope="module")
def port(graphs: Plane) -> Iterator[int]:
    async def start() -> tuple[GrpcServer, int]:
        server = new_server(graphs)
        return server, await server.start("127.0.0.1", 0)

    server, bound = graphs.run(start())
    yield bound
    graphs.run(server.stop(0.0))


@pytest.fixture(scope="module")
def stub(port: int) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.max_send_message_length", -1),)) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def request(model: str, inputs: list[tuple[str, str, np.ndarray]], *, raw: bool = True, **more: Any) -> Any:
    """A ModelInferRequest with the tensors (name, datatype, values) as raw contents, or as typed ones."""
    made = service_pb2.ModelInferRequest(model_name=model, **more)
    for name, datatype, values in inputs:
        tensor = made.inputs.add(name=name, datatype=datatype, shape=values.shape)
        if raw:
            made.raw_input_contents.append(to_binary(values))
        else:
            flat = values.reshape(-1).tolist()
            elements = [text.encode() for text in flat] if datatype == "BYTES" else flat
            getattr(tensor.contents, CONTENTS[datatype]).extend(elements)
    return made


def read(response: Any) -> dict[str, np.ndarray]:
    return {
        told.name: from_binary(raw, told.datatype, list(told.shape))
        for told, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def refusal(call: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def ones(model: str = "rows") -> Any:
    return request(model, [(f"INPUT{n}", "FP32", np.ones((1, 4), np.float32)) for n in (0, 1)])


@pytest.mark.parametrize(("datatype", "raw"), [*((name, True) for name in DATATYPES), *((name, False) for name in CONTENTS)])
def test_every_datatype_comes_back_to_the_bit(stub, datatype, raw):
    dtype = DATATYPES[datatype][1]
    if datatype == "BYTES":
        values = np.array([["", "Köln", "he\x00llo"]], dtype=object)
    elif datatype == "BOOL" or datatype.startswith("FP"):
        values = np.array([[1, 0, 1]]).astype(dtype) / (3 if datatype != "BOOL" else True)
    else:
        values = np.array([[np.iinfo(dtype).min, 7, np.iinfo(dtype).max]], dtype=dtype)
    values = values.astype(dtype)
    asked = request(f"copy_{datatype.lower()}", [("INPUT0", datatype, values)], raw=raw, id="my id")
    response = stub.ModelInfer(asked, metadata=WITH_KEY)
    assert response.id == "my id" and response.model_version == "1" and response.outputs[0].datatype == datatype
    assert to_binary(read(response)["OUTPUT0"]) == to_binary(values)


def test_the_same_request_gets_the_same_answer_over_http(graphs, stub):
    rows = np.random.default_rng(5).standard_normal((5, 64)).astype(np.float32)
    over_grpc = read(stub.ModelInfer(request("dense", [("x", "FP32", rows)]), metadata=WITH_KEY))
    body, headers = binary_body([("x", "FP32", rows)], parameters={"binary_data_output": True})
    over_http = read_outputs(graphs.post("/v2/models/dense/infer", content=body, headers=headers))
    assert over_grpc["y"].tobytes() == over_http["y"].tobytes()


def test_the_outputs_that_are_asked_for_and_the_version(stub):
    asked = request("rows", [(f"INPUT{n}", "FP32", np.ones((1, 4), np.float32)) for n in (0, 1)], model_version="1")
    asked.outputs.add(name="OUTPUT1")
    assert list(read(stub.ModelInfer(asked, metadata=WITH_KEY))) == ["OUTPUT1"]


@pytest.mark.parametrize("key", [("authorization", f"Bearer {KEY}"), ("x-api-key", KEY), ("authorization", "basic")])
def test_the_key_is_taken_in_any_of_its_forms(stub, key):
    if key[1] == "basic":
        key = (key[0], "Basic " + base64.b64encode(f"anyone:{KEY}".encode()).decode())
    answer, call = stub.ModelInfer.with_call(ones(), metadata=(key, ("x-request-id", "mine-7")))
    told = dict(call.trailing_metadata())
    assert len(answer.outputs) == 2
    assert told["x-request-id"] == "mine-7" and told["modeltap-model"] == "rows@1" and told["modeltap-cost"] == "0"


def test_without_a_key_only_the_server_says_that_it_lives(stub):
    assert stub.ServerLive(service_pb2.ServerLiveRequest()).live
    assert stub.ServerReady(service_pb2.ServerReadyRequest()).ready
    for call in (
        lambda: stub.ModelInfer(ones()),
        lambda: stub.ServerMetadata(service_pb2.ServerMetadataRequest()),
        lambda: stub.RepositoryIndex(service_pb2.RepositoryIndexRequest()),
        lambda: stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="rows")),
        lambda: stub.ModelInfer(ones(), metadata=(("x-api-key", "mt-wrong"),)),
    ):
        assert refusal(call).code() == grpc.StatusCode.UNAUTHENTICATED


def both_contents() -> Any:
    asked = ones()
    asked.inputs[0].contents.fp32_contents.append(1.0)
    return asked


REFUSED = {
    "an unknown model": (ones("nobody"), "NOT_FOUND", "Request for unknown model: 'nobody' is not found"),
    "a version that is not served": (
        request("rows", [], model_version="2"),
        "NOT_FOUND",
        "Request for unknown model: 'rows' version '2' is not found",
    ),
    "a version that is none": (
        request("rows", [], model_version="wrong_specification"),
        "INVALID_ARGUMENT",
        "failed to get model version from specified version string 'wrong_specification'",
    ),
    "an input that is missing": (request("rows", []), "INVALID_ARGUMENT", "'INPUT0' is missing"),
    "contents twice": (
        both_contents(),
        "INVALID_ARGUMENT",
        "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'rows'",
    ),
    "bytes that are no whole number": (
        service_pb2.ModelInferRequest(
            model_name="value", inputs=[{"name": "INPUT0", "datatype": "FP32", "shape": []}], raw_input_contents=[b"abc"]
        ),
        "INVALID_ARGUMENT",
        "no whole number of FP32",
    ),
    "a datatype that is none": (
        service_pb2.ModelInferRequest(model_name="value", inputs=[{"name": "INPUT0", "datatype": "FLOAT", "shape": [1]}]),
        "INVALID_ARGUMENT",
        "'FLOAT'",
    ),
    "shared memory": (
        service_pb2.ModelInferRequest(
            model_name="value",
            inputs=[{"name": "INPUT0", "datatype": "FP32", "parameters": {"shared_memory_region": {"string_param": "r"}}}],
        ),
        "INVALID_ARGUMENT",
        "shared_memory_byte_size",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_request_that_does_not_fit_has_its_status_and_says_why(stub, what):
    asked, status, told = REFUSED[what]
    problem = refusal(lambda: stub.ModelInfer(asked, metadata=WITH_KEY))
    assert problem.code().name == status and told in problem.details()
    assert "x-request-id" in dict(problem.trailing_metadata())


@pytest.mark.parametrize("packed", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_message_over_the_limit_is_refused_packed_or_not(stub, packed):
    small = request("copy_uint8", [("INPUT0", "UINT8", np.zeros((1, MAX_BODY_BYTES // 2), np.uint8))])
    assert read(stub.ModelInfer(small, metadata=WITH_KEY, compression=packed))["OUTPUT0"].shape == (1, MAX_BODY_BYTES // 2)
    large = request("copy_uint8", [("INPUT0", "UINT8", np.zeros((64, MAX_BODY_BYTES), np.uint8))])
    problem = refusal(lambda: stub.ModelInfer(large, metadata=WITH_KEY, compression=packed))
    assert problem.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_client_that_gives_up_leaves_nothing_behind(graphs, stub):
    long = request("spinning", [("rounds", "INT64", np.array([2_000_000]))])
    problem = refusal(lambda: stub.ModelInfer(long, metadata=WITH_KEY, timeout=0.05))
    assert problem.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    call = stub.ModelInfer.future(long, metadata=WITH_KEY, timeout=WAIT_S)
    ended = threading.Event()
    call.add_done_callback(lambda _: ended.set())
    call.cancel()
    assert ended.wait(WAIT_S)
    short = request("spinning", [("rounds", "INT64", np.array([10]))])
    assert read(stub.ModelInfer(short, metadata=WITH_KEY, timeout=WAIT_S))["done"].tolist() == [1.0]
    loaded = next(one.version for one in graphs.router.loaded() if one.version.model_id == "spinning@1")
    assert loaded.in_flight == 0


def test_a_stream_answers_each_request_in_turn_also_after_one_that_fails(stub):
    def asked() -> Iterator[Any]:
        for at, model in enumerate(("rows", "nobody", "rows")):
            one = ones(model)
            one.id = str(at)
            yield one

    answers = list(stub.ModelStreamInfer(asked(), metadata=WITH_KEY))
    assert [answer.infer_response.id for answer in answers] == ["0", "1", "2"]
    assert [answer.error_message for answer in answers] == ["", "Request for unknown model: 'nobody' is not found", ""]
    assert read(answers[2].infer_response)["OUTPUT0"].tolist() == [[2.0] * 4]


def test_what_the_server_and_a_model_say_of_themselves(stub):
    server = stub.ServerMetadata(service_pb2.ServerMetadataRequest(), metadata=WITH_KEY)
    assert server.name == "modeltap" and "binary_tensor_data" in server.extensions
    model = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="rows", version="1"), metadata=WITH_KEY)
    assert model.versions == ["1"] and [list(one.shape) for one in model.inputs] == [[-1, 4], [-1, 4]]
    config = stub.ModelConfig(service_pb2.ModelConfigRequest(name="rows"), metadata=WITH_KEY).config
    assert config.name == "rows" and config.max_batch_size > 1 and list(config.input[0].dims) == [4]
    single = stub.ModelConfig(service_pb2.ModelConfigRequest(name="simple"), metadata=WITH_KEY).config
    assert single.max_batch_size == 0 and list(single.input[0].dims) == [1, 16] and single.input[0].data_type == 8
    index = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), metadata=WITH_KEY)
    assert {"rows", "simple"} <= {model.name for model in index.models if model.state == "READY"}
    ready = stub.ModelReady(service_pb2.ModelReadyRequest(name="rows"), metadata=WITH_KEY)
    assert ready.ready and not stub.ModelReady(service_pb2.ModelReadyRequest(name="nobody"), metadata=WITH_KEY).ready


def test_statistics_count_what_was_answered(stub):
    def counted() -> Any:
        asked = service_pb2.ModelStatisticsRequest(name="ratio")
        return stub.ModelStatistics(asked, metadata=WITH_KEY).model_stats[0]

    before = counted()
    three = [(name, "FP32", np.ones(3, np.float32)) for name in ("x", "y")]
    stub.ModelInfer(request("ratio", three), metadata=WITH_KEY)
    after = counted()
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert after.inference_count == before.inference_count + 3
    assert after.execution_count == before.execution_count + 1
    assert sum(batch.compute_infer.count for batch in after.batch_stats if batch.batch_size == 3) >= 1
    assert len(stub.ModelStatistics(service_pb2.ModelStatisticsRequest(), metadata=WITH_KEY).model_stats) > 5


def test_calls_are_counted_beside_those_of_http(graphs, stub):
    stub.ModelInfer(ones(), metadata=WITH_KEY)
    refusal(lambda: stub.ModelInfer(ones("nobody"), metadata=WITH_KEY))
    lines = [line for line in graphs.get("/metrics").text.splitlines() if 'protocol="grpc"' in line]
    assert any('deployment="rows"' in line and 'status="200"' in line for line in lines)
    assert any('status="404"' in line for line in lines)


def test_there_is_no_memory_of_gpus_and_models_are_not_loaded_by_callers(stub):
    stub.CudaSharedMemoryUnregister(service_pb2.CudaSharedMemoryUnregisterRequest(), metadata=WITH_KEY)
    assert not stub.CudaSharedMemoryStatus(service_pb2.CudaSharedMemoryStatusRequest(), metadata=WITH_KEY).regions
    region = service_pb2.CudaSharedMemoryRegisterRequest(name="r", raw_handle=b"r", byte_size=64)
    problem = refusal(lambda: stub.CudaSharedMemoryRegister(region, metadata=WITH_KEY))
    assert problem.code() == grpc.StatusCode.INVALID_ARGUMENT and "memory of GPUs" in problem.details()
    load = service_pb2.RepositoryModelLoadRequest(model_name="rows")
    problem = refusal(lambda: stub.RepositoryModelLoad(load, metadata=WITH_KEY))
    assert problem.code() == grpc.StatusCode.INVALID_ARGUMENT and "failed to load 'rows'" in problem.details()
    setting = refusal(lambda: stub.LogSettings(service_pb2.LogSettingsRequest(), metadata=WITH_KEY))
    assert setting.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_port_that_is_taken_is_told(graphs, port):
    other = new_server(graphs)
    with pytest.raises(Conflict, match=f"port {port} on 127.0.0.1 is taken"):
        graphs.run(other.start("127.0.0.1", port))
    graphs.run(other.stop(0.0))


def test_an_error_says_when_to_come_back():
    waiting = RateLimited("too much", limit="rpm", retry_after_s=1.25)
    told = dict(retry_metadata(waiting, 8))
    assert told[PUSHBACK] == "1250" and told["retry-after-ms"] == "1250" and status_name(waiting) == "RESOURCE_EXHAUSTED"
    status = message_class("Status", "google.rpc").FromString(told[DETAILS])
    info = message_class("RetryInfo", "google.rpc").FromString(status.details[0].value)
    assert status.code == 8 and (info.retry_delay.seconds, info.retry_delay.nanos) == (1, 250_000_000)
    assert retry_metadata(BudgetSpent("spent", limit="budget_day", retry_after_s=None), 8) == ((PUSHBACK, "-1"),)
    assert dict(retry_metadata(Loading("wait"), 14))[PUSHBACK] == "1000" and status_name(Loading("wait")) == "UNAVAILABLE"
    assert retry_metadata(InvalidValue("no"), 3) == ()

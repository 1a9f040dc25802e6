"""NVIDIA's own client library over HTTP against a real server, waiting and not, as its published examples use it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from foreign_graphs import save, sum_and_difference
from onnx import TensorProto
from triton_scenes import (
    INPUT0,
    INPUT1,
    MODELS,
    PACKED,
    UNKNOWN,
    WITH_ZEROS,
    check,
    check_texts,
    grpc_inputs,
    grpc_outputs,
    http_inputs,
    http_outputs,
    text_inputs,
)
from tritonclient.http.auth import BasicAuth
from tritonclient.utils import InferenceServerException

from modeltap.cli.main import run


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
        assert problem.value.message().startswith("Request for unknown model") and "no key was sent" in problem.value.message()


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
    assert set(MODELS) <= {model["name"] for model in http.get_model_repository_index()}
    assert "simple" in {one["name"] for one in http.get_inference_statistics()["model_stats"]}
    with pytest.raises(InferenceServerException) as problem:
        http.get_model_metadata("wrong_model_name")
    assert problem.value.message() == UNKNOWN


def test_http_strings(http):
    inputs = text_inputs(http_client, binary_data=True)
    check_texts(http.infer(model_name="simple_string", inputs=inputs, outputs=http_outputs()))


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
            assert await client.is_server_live(query_params={"test_1": 1, "test_2": 2})
            assert (await client.get_server_metadata())["name"] == "modeltap"
            assert (await client.get_model_metadata("simple"))["name"] == "simple"
            assert (await client.get_model_config("simple"))["name"] == "simple"
            for packing in PACKED:
                packed = {"request_compression_algorithm": packing, "response_compression_algorithm": packing}
                check(await client.infer("simple", http_inputs(http_aio), outputs=http_outputs(http_aio), **packed))
            assert len((await client.get_inference_statistics(model_name="simple"))["model_stats"]) == 1
            asked = text_inputs(http_aio, binary_data=True)
            check_texts(await client.infer("simple_string", asked, outputs=http_outputs(http_aio)))
            for values in WITH_ZEROS:
                given = http_aio.InferInput("INPUT0", values.shape, "BYTES").set_data_from_numpy(values)
                result = await client.infer("simple_identity", [given])
                assert result.as_numpy("OUTPUT0").tolist() == values.astype(np.object_).tolist()
            with pytest.raises(InferenceServerException) as problem:
                await client.infer("wrong_model_name", http_inputs(http_aio), outputs=http_outputs(http_aio))
            assert problem.value.message() == UNKNOWN
            at_once = [client.infer("simple", http_inputs(http_aio)) for _ in range(8)]
            for result in await asyncio.gather(*at_once):
                check(result)

    asyncio.run(talk())


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
    with pytest.raises(InferenceServerException, match="failed to load 'simple'"):
        client.load_model("simple")


@pytest.mark.parametrize("module", [http_client, grpc_client])
def test_clients_that_are_made_anew_for_every_request_and_never_closed(module, address):
    where, asked = (address.http, http_inputs()) if module is http_client else (address.grpc, grpc_inputs())
    for _ in range(30):
        client = module.InferenceServerClient(where)
        client.register_plugin(BasicAuth("any", address.key))
        check(client.infer("simple", asked))


def test_in_an_engine_process_of_its_own_a_graph_answers_the_same(served, http):
    for name in ("simple", "simple_identity"):
        body = {"name": f"apart_{name}", "model": f"{name}@1", "terms": {"isolate": True}}
        served.ask("POST", "/api/deployments", json=body)
    check(http.infer("apart_simple", http_inputs(), outputs=http_outputs()))
    for rows in (1, 3):
        values = np.array(["Köln".encode(), b"he\x00llo"] * 8 * rows, dtype=np.object_).reshape(rows, 16)
        given = http_client.InferInput("INPUT0", values.shape, "BYTES")
        given.set_data_from_numpy(values)
        assert http.infer("apart_simple_identity", [given]).as_numpy("OUTPUT0").tolist() == values.tolist()
    for name in ("simple", "simple_identity"):
        served.ask("DELETE", f"/api/deployments/apart_{name}")


def test_a_model_is_imported_from_the_command_line(served, address, tmp_path, capsys):
    folder = tmp_path / "outside"
    save(
        sum_and_difference(TensorProto.FLOAT, ("N", 3)), folder, save_as_external_data=True, size_threshold=0, location="w.bin"
    )
    key, url = address.key, f"http://{address.http}"

    def modeltap(*words: str) -> Any:
        code = run([*words, "--url", url, "--key", key, "--home", str(tmp_path), "--json"])
        told = capsys.readouterr()
        assert code == 0, told.err
        return json.loads(told.out)

    made = modeltap("models", "import", str(folder), "--name", "rows")
    assert made["id"] == "rows@1" and made["task"] == "tensors" and made["notices"] == []
    assert modeltap("deploy", "rows@1", "--name", "rows")["name"] == "rows"
    body = {"instances": [{"INPUT0": [1, 2, 3], "INPUT1": [1, 1, 1]}]}
    answer = served.ask("POST", "/predict/rows", json=body)
    assert answer["predictions"] == [{"OUTPUT0": [2.0, 3.0, 4.0], "OUTPUT1": [0.0, 1.0, 2.0]}]

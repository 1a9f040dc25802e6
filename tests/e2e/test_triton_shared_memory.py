"""NVIDIA's client library with its tensors in shared memory, as its published examples use it, over both protocols."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from fault_server import FaultServer, serving
from triton_scenes import INPUT0, INPUT1, Address, check
from tritonclient.utils import InferenceServerException, shared_memory

SIZE = INPUT0.nbytes
ANOTHER = 54321


class Shared(NamedTuple):
    """A client with two inputs and two outputs that may lie in the memory, one behind the other."""

    client: Any
    module: Any
    memory: Any
    key: str

    def register(self, name: str = "tensors", **changes: Any) -> None:
        self.client.register_system_shared_memory(name, **{"key": self.key, "byte_size": 4 * SIZE, **changes})

    def inputs(self, *, in_memory: tuple[int, ...] = (0, 1)) -> list[Any]:
        inputs = [self.module.InferInput(f"INPUT{number}", [1, 16], "INT32") for number in (0, 1)]
        for number, values in enumerate((INPUT0, INPUT1)):
            if number in in_memory:
                shared_memory.set_shared_memory_region(self.memory, [values], offset=number * SIZE)
                inputs[number].set_shared_memory("tensors", SIZE, offset=number * SIZE)
            else:
                inputs[number].set_data_from_numpy(values)
        return inputs

    def outputs(self, *, in_memory: tuple[int, ...] = (0, 1), size: int = SIZE) -> list[Any]:
        outputs = [self.module.InferRequestedOutput(f"OUTPUT{number}") for number in (0, 1)]
        for number in in_memory:
            outputs[number].set_shared_memory("tensors", size, offset=(2 + number) * SIZE)
        return outputs

    def found(self, number: int) -> np.ndarray:
        return np.array(shared_memory.get_contents_as_numpy(self.memory, np.int32, [1, 16], offset=(2 + number) * SIZE))


@pytest.fixture(params=["http", "grpc"])
def shared(request: pytest.FixtureRequest, http: Any, over_grpc: Any) -> Iterator[Shared]:
    client, module = (http, http_client) if request.param == "http" else (over_grpc, grpc_client)
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    key = f"/modeltap_test_{os.getpid()}"
    memory = shared_memory.create_shared_memory_region("tensors", key, 4 * SIZE)
    yield Shared(client, module, memory, key)
    client.unregister_system_shared_memory()
    shared_memory.destroy_shared_memory_region(memory)


def test_tensors_are_read_from_memory_and_written_there_and_used_again(shared):
    """The steps of the example reuse_infer_objects_client."""
    shared.register()
    inputs, outputs = shared.inputs(), shared.outputs()
    for _ in range(2):
        result = shared.client.infer(model_name="simple", inputs=inputs, outputs=outputs)
        assert (shared.found(0) == INPUT0 + INPUT1).all() and (shared.found(1) == INPUT0 - INPUT1).all()
        told = result.get_output("OUTPUT1")
        parameters = told["parameters"] if isinstance(told, dict) else told.parameters
        assert set(parameters) == {"shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"}
        for output in outputs:  # sent again, and back into memory in the next turn
            output.unset_shared_memory()
        check(shared.client.infer(model_name="simple", inputs=inputs, outputs=outputs))
        inputs[0].set_data_from_numpy(INPUT0)
        check(shared.client.infer(model_name="simple", inputs=inputs, outputs=outputs))
        inputs, outputs = shared.inputs(), shared.outputs()
    assert (shared_memory.get_contents_as_numpy(shared.memory, np.int32, [1, 16]) == INPUT0).all()


@pytest.mark.parametrize(("sent", "asked"), [((0,), (1,)), ((1,), (0,)), ((), (0, 1)), ((0, 1), ())])
def test_some_tensors_in_memory_and_some_in_the_request(shared, sent, asked):
    shared.register()
    result = shared.client.infer("simple", shared.inputs(in_memory=sent), outputs=shared.outputs(in_memory=asked))
    for number, wanted in enumerate((INPUT0 + INPUT1, INPUT0 - INPUT1)):
        assert ((shared.found(number) if number in asked else result.as_numpy(f"OUTPUT{number}")) == wanted).all()


def test_texts_in_memory(shared):
    texts = np.array([[b"a", b"", *[b"text"] * 14]], dtype=np.object_)
    content = b"".join(len(text).to_bytes(4, "little") + text for text in texts[0])
    shared_memory.set_shared_memory_region(shared.memory, [np.frombuffer(content, np.uint8)])
    shared.register()
    given = shared.module.InferInput("INPUT0", [1, 16], "BYTES")
    given.set_shared_memory("tensors", len(content))
    wanted = shared.module.InferRequestedOutput("OUTPUT0")
    wanted.set_shared_memory("tensors", 2 * SIZE, offset=2 * SIZE)
    shared.client.infer("simple_identity", [given], outputs=[wanted])
    found = shared_memory.get_contents_as_numpy(shared.memory, np.object_, [1, 16], offset=2 * SIZE)
    assert found.tolist() == texts.tolist()


def test_regions_are_listed_and_forgotten(shared):
    def names(**which: str) -> set[str]:
        told = shared.client.get_system_shared_memory_status(**which)
        return {one["name"] for one in told} if isinstance(told, list) else set(told.regions)

    assert names() == set()
    shared.register("first", byte_size=SIZE)
    shared.register("second", byte_size=SIZE, offset=SIZE)
    assert names() == {"first", "second"} and names(region_name="first") == {"first"}
    with pytest.raises(InferenceServerException, match="already; unregister it first"):
        shared.register("first", byte_size=SIZE)
    shared.client.unregister_system_shared_memory("first")
    assert names() == {"second"}
    with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'first'"):
        names(region_name="first")


def test_what_does_not_fit_is_told_and_the_memory_is_left(shared, served):
    shared.register()
    before = bytes(shared.memory._mpsm_handle.buf)
    with pytest.raises(InferenceServerException, match="output 'OUTPUT0' has 64 bytes; its shared_memory_byte_size is 60"):
        shared.client.infer("simple", shared.inputs(in_memory=()), outputs=shared.outputs(size=60))
    outputs = shared.outputs()
    outputs[1].set_shared_memory("tensors", 0, offset=3 * SIZE)
    with pytest.raises(InferenceServerException, match="output 'OUTPUT1' has 64 bytes; its shared_memory_byte_size is 0"):
        shared.client.infer("simple", shared.inputs(in_memory=()), outputs=outputs)
    assert bytes(shared.memory._mpsm_handle.buf) == before, "what fits is not there either: it was not charged"
    beyond = shared.inputs()
    beyond[1].set_shared_memory("tensors", SIZE, offset=4 * SIZE - 1)
    with pytest.raises(InferenceServerException, match="input 'INPUT1' ends at byte 319 of region 'tensors', which has 256"):
        shared.client.infer("simple", beyond)
    beyond[1].set_shared_memory("nothing", SIZE)
    with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'nothing'"):
        shared.client.infer("simple", beyond)
    with pytest.raises(InferenceServerException, match="Unable to open shared memory region"):
        shared.register("more", key="/nothing")
    os.truncate(f"/dev/shm{shared.key}", SIZE)
    with pytest.raises(InferenceServerException, match="has shrunk"):
        shared.client.infer("simple", shared.inputs(in_memory=(0,)), outputs=shared.outputs(in_memory=(1,)))
    os.truncate(f"/dev/shm{shared.key}", 4 * SIZE)
    check(shared.client.infer("simple", shared.inputs()))
    assert "Traceback" not in served.log()


def test_a_region_is_the_keys_that_registered_it(shared, served):
    shared.register()
    made = served.ask("POST", "/api/keys", json={"scopes": ["predict"]})
    headers = {"x-api-key": made["key"]}
    status = served.client.get("/v2/systemsharedmemory/status", headers=headers)
    assert status.json() == []
    region = {"shared_memory_region": "tensors", "shared_memory_byte_size": SIZE}
    body = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "parameters": region}]}
    answer = served.client.post("/v2/models/simple/infer", json=body, headers=headers)
    assert answer.status_code == 404 and "Unable to find shared memory region" in answer.json()["error"]
    own = served.client.post(
        "/v2/systemsharedmemory/region/tensors/register", json={"key": shared.key, "byte_size": SIZE}, headers=headers
    )
    assert own.status_code == 200, "each key has names of its own"
    assert served.client.post("/v2/systemsharedmemory/unregister", headers=headers).status_code == 200
    assert served.ask("GET", "/v2/systemsharedmemory/status") != []


def test_only_a_process_that_could_open_the_memory_itself_registers_it(served, address: Address, shared):
    path = "/v2/systemsharedmemory/region/tensors/register"
    body = {"key": shared.key, "byte_size": SIZE}
    for forwarded in ("x-forwarded-for", "via"):
        answer = served.client.post(path, json=body, headers={forwarded: "10.0.0.1"})
        assert answer.status_code == 403 and "without a proxy" in answer.json()["error"]
    with (
        pytest.raises(InferenceServerException, match="without a proxy"),
        grpc_client.InferenceServerClient(address.grpc) as passed_on,
    ):
        headers = {**address.headers, "x-forwarded-for": "10.0.0.1"}
        passed_on.register_system_shared_memory("tensors", shared.key, SIZE, headers=headers)
    huge = int("9" * 4300)
    for wrong in ({"key": shared.key}, {**body, "byte_size": "64"}, [], {**body, "offset": -1}, {**body, "offset": huge}):
        assert served.client.post(path, json=wrong).status_code == 400
    region = {"shared_memory_region": "tensors", "shared_memory_byte_size": huge, "shared_memory_offset": huge}
    asked = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "parameters": region}]}
    assert served.client.post("/v2/models/simple/infer", json=asked).status_code == 400
    if os.getuid() == 0:
        code = (
            "import encodings.idna, http.client, os, sys; os.setuid(int(sys.argv[1]));"
            " c = http.client.HTTPConnection(sys.argv[2]);"
            " c.request('POST', sys.argv[3], sys.argv[4], {'x-api-key': sys.argv[5]}); r = c.getresponse();"
            " print(r.status, r.read().decode())"
        )
        asked = [str(ANOTHER), address.http, path, httpx.Request("POST", "http://a", json=body).content.decode(), address.key]
        told = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True).stdout
        assert told.startswith("403") and "belongs to another user" in told


def test_a_repeated_request_has_its_tensors_in_itself(shared, served):
    shared.register()
    if shared.module is grpc_client:
        return
    headers = {"idempotency-key": "one"}
    with pytest.raises(InferenceServerException, match="Idempotency-Key has its tensors in itself"):
        shared.client.infer("simple", shared.inputs(), headers=headers)


def test_all_workers_know_a_region_and_a_server_that_is_told_to_takes_none(tmp_path):
    folder = tmp_path / "home"
    key = f"/modeltap_workers_{os.getpid()}"
    memory = shared_memory.create_shared_memory_region("tensors", key, SIZE)
    path = "/v2/systemsharedmemory/region/tensors/register"
    try:
        with serving(folder, MODELTAP_WORKERS="2") as server:
            assert server.client.post(path, json={"key": key, "byte_size": SIZE}).status_code == 200
            assert "system_shared_memory" in server.ask("GET", "/v2")["extensions"]
            seen = [_listed(server) for _ in range(20)]
            assert all(seen), "each connection is another worker's, by the system's choice"
        with serving(folder, MODELTAP_SHARED_MEMORY="off") as server:
            assert _listed(server) == [] and "system_shared_memory" not in server.ask("GET", "/v2")["extensions"]
            answer = server.client.post(path, json={"key": key, "byte_size": SIZE})
            assert answer.status_code == 400 and "--shared-memory" in answer.json()["error"]
    finally:
        shared_memory.destroy_shared_memory_region(memory)


def _listed(server: FaultServer) -> Any:
    """As a connection of its own is told."""
    with httpx.Client(base_url=server.client.base_url, headers=server.client.headers) as client:
        return client.get("/v2/systemsharedmemory/status").json()

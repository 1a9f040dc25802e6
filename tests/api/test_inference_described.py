"""What /v2 tells of the server, of models and of what they did; what it is asked to hurry; and what it does not do."""

from __future__ import annotations

import numpy as np
import pytest
from served_graphs import tensor

ONES = {"inputs": [tensor(f"INPUT{n}", "FP32", np.ones((2, 4), np.float32)) for n in (0, 1)]}


def test_the_server_names_its_extensions(graphs):
    told = graphs.get("/v2").json()
    assert told["name"] == "modeltap" and {"binary_tensor_data", "model_configuration", "statistics"} <= set(told["extensions"])


def test_a_graph_tells_its_tensors_and_how_it_is_run(graphs):
    rows = graphs.get("/v2/models/rows/config").json()
    assert rows["max_batch_size"] == 64 and rows["platform"] == "onnxruntime_onnx" and "dynamic_batching" in rows
    assert rows["input"][1] == {"name": "INPUT1", "data_type": "TYPE_FP32", "dims": [4]}
    text = graphs.get("/v2/models/simple_string/versions/1/config").json()
    assert text["max_batch_size"] == 0 and text["output"][0] == {"name": "OUTPUT0", "data_type": "TYPE_STRING", "dims": [1, 16]}
    told = graphs.get("/v2/models/simple_string").json()
    assert told["inputs"][0] == {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 16]}
    assert graphs.get("/v2/models/copy_fp16").json()["outputs"][0]["shape"] == [-1, -1]


def test_statistics_count_requests_rows_runs_and_failures(graphs):
    def counted() -> dict[str, int]:
        (told,) = graphs.get("/v2/models/rows/stats").json()["model_stats"]
        assert told["name"] == "rows" and told["version"] == "1"
        return {
            "requests": told["inference_stats"]["success"]["count"],
            "failed": told["inference_stats"]["fail"]["count"],
            "computed": told["inference_stats"]["compute_infer"]["count"],
            "rows": told["inference_count"],
            "runs": told["execution_count"],
            "of two": sum(one["compute_infer"]["count"] for one in told["batch_stats"] if one["batch_size"] == 2),
        }

    before = counted()
    for _ in range(3):
        assert graphs.post("/v2/models/rows/infer", json=ONES).status_code == 200
    late = {**ONES, "parameters": {"timeout": 1}}
    assert graphs.post("/v2/models/rows/infer", json=late).status_code == 503
    after = counted()
    gained = {name: after[name] - before[name] for name in after}
    assert gained == {"requests": 3, "failed": 1, "computed": 3, "rows": 6, "runs": 3, "of two": 3}
    every = graphs.get("/v2/models/stats").json()["model_stats"]
    assert {"rows", "dense", "simple"} <= {one["name"] for one in every}


def test_a_request_may_say_how_long_it_waits_and_how_urgent_it_is(graphs):
    for parameters in ({"timeout": 5_000_000}, {"priority": 1}, {"priority": 7, "timeout": 9_000_000}, {"timeout": 0}):
        assert graphs.post("/v2/models/rows/infer", json={**ONES, "parameters": parameters}).status_code == 200
    for parameters in ({"timeout": -1}, {"timeout": "1s"}, {"priority": 1.5}, {"binary_data_output": 1}):
        answer = graphs.post("/v2/models/rows/infer", json={**ONES, "parameters": parameters})
        assert answer.status_code == 400 and next(iter(parameters)) in answer.json()["error"]


def test_the_index_lists_what_is_deployed(graphs):
    listed = graphs.post("/v2/repository/index", content=b"").json()
    assert {"name": "rows", "version": "1", "state": "READY", "reason": ""} in listed
    assert graphs.post("/v2/repository/index", json={"ready": True}).json() == listed
    assert graphs.post("/v2/repository/index", json=[]).status_code == 400
    assert graphs.get("/v2/repository/index").status_code == 405


@pytest.mark.parametrize("what", ["load", "unload"])
def test_models_are_not_loaded_by_callers(graphs, what):
    answer = graphs.post(f"/v2/repository/models/rows/{what}", json={})
    assert answer.status_code == 400
    assert f"failed to {what} 'rows'" in answer.json()["error"] and "modeltap deploy" in answer.json()["error"]


def test_the_memory_of_gpus_is_refused_and_forgetting_all_of_it_is_not(graphs):
    assert graphs.get("/v2/cudasharedmemory/status").json() == []
    assert graphs.post("/v2/cudasharedmemory/unregister", content=b"").status_code == 200
    answer = graphs.post("/v2/cudasharedmemory/region/r/register", json={"raw_handle": {"b64": ""}})
    assert answer.status_code == 400 and "memory of GPUs" in answer.json()["error"]


@pytest.mark.parametrize(
    ("parameters", "status", "told"),
    [
        ({"shared_memory_region": "r", "shared_memory_byte_size": 16}, 404, "Unable to find shared memory region: 'r'"),
        ({"shared_memory_region": "r"}, 400, "has the shared_memory_byte_size None"),
        ({"shared_memory_region": 1, "shared_memory_byte_size": 16}, 400, "has the shared_memory_region 1"),
        ({"shared_memory_region": "r", "shared_memory_byte_size": True}, 400, "has the shared_memory_byte_size True"),
        ({"shared_memory_region": "r", "shared_memory_byte_size": 16, "shared_memory_offset": -1}, 400, "offset -1"),
        ({"shared_memory_byte_size": 16}, 400, "and no shared_memory_region"),
    ],
)
def test_tensors_that_are_not_in_shared_memory_where_the_request_says(graphs, parameters, status, told):
    inputs = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 4], "parameters": parameters}]}
    outputs = {**ONES, "outputs": [{"name": "OUTPUT0", "parameters": parameters}]}
    for body in (inputs, outputs):
        answer = graphs.post("/v2/models/rows/infer", json=body)
        assert answer.status_code == status and told in answer.json()["error"], answer.text


def test_classes_are_not_sorted_here(graphs):
    classes = {**ONES, "outputs": [{"name": "OUTPUT0", "parameters": {"classification": 3}}]}
    answer = graphs.post("/v2/models/rows/infer", json=classes)
    assert answer.status_code == 400 and "classes" in answer.json()["error"]


@pytest.mark.parametrize("version", ["wrong", "0", "-1", "1.0", "9" * 30])
def test_a_version_that_is_no_number_is_told_in_the_words_that_clients_know(graphs, version):
    answer = graphs.post(f"/v2/models/rows/versions/{version}/infer", json=ONES)
    assert answer.status_code == 400
    assert f"failed to get model version from specified version string '{version}'" in answer.json()["error"]

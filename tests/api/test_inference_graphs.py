"""Imported graphs over /v2: every datatype in every form, exactly as the graph gives it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from served_graphs import DATATYPES, binary_body, read_outputs, tensor, to_binary

NUMERIC = [name for name in DATATYPES if name not in ("BYTES", "BOOL")]


def samples(datatype: str) -> np.ndarray:
    """Values that each datatype holds, its ends among them."""
    dtype = DATATYPES[datatype][1]
    if datatype == "BYTES":
        return np.array([["", "Köln", "he\x00llo"], ["a\nb", '"', "\u2028😀"]], dtype=object)
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if datatype.startswith("FP"):
        most = float(np.finfo(dtype).max)
        return np.array([[0.1, -0.0, most], [-most, float(np.finfo(dtype).smallest_subnormal), 1 / 3]], dtype=dtype)
    return np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max, 0], [1, 2, 3]], dtype=dtype)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_what_goes_in_as_bytes_comes_out_to_the_bit(graphs, datatype):
    values = samples(datatype)
    body, headers = binary_body([("INPUT0", datatype, values)], parameters={"binary_data_output": True})
    answer = graphs.post(f"/v2/models/copy_{datatype.lower()}/infer", content=body, headers=headers)
    given = read_outputs(answer)["OUTPUT0"]
    assert given.tolist() == values.tolist() and to_binary(given) == to_binary(values)
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "FP16"])
def test_what_goes_in_as_json_comes_out_to_the_bit(graphs, datatype, flat):
    values = samples(datatype)
    body = {"inputs": [tensor("INPUT0", datatype, values, flat=flat)]}
    answer = graphs.post(f"/v2/models/copy_{datatype.lower()}/infer", json=body)
    assert answer.headers["content-type"] == "application/json" and "inference-header-content-length" not in answer.headers
    assert answer.json()["outputs"][0]["datatype"] == datatype and answer.json()["outputs"][0]["shape"] == [2, 3]
    assert to_binary(read_outputs(answer)["OUTPUT0"]) == to_binary(values)


def test_each_tensor_has_the_form_that_is_asked_for_it(graphs):
    first, second = (np.arange(16, dtype=np.int32).reshape(1, 16) * factor for factor in (1, 3))
    head = {
        "inputs": [
            tensor("INPUT0", "INT32", first),
            {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": 64}},
        ],
        "outputs": [{"name": "OUTPUT1", "parameters": {"binary_data": False}}, {"name": "OUTPUT0"}],
        "parameters": {"binary_data_output": True, "unknown": [1], "sequence_id": 7},
    }
    text = json.dumps(head).encode()
    headers = {"inference-header-content-length": str(len(text))}
    answer = graphs.post("/v2/models/simple/infer", content=text + second.tobytes(), headers=headers)
    outputs = read_outputs(answer)
    assert list(outputs) == ["OUTPUT1", "OUTPUT0"]
    assert (outputs["OUTPUT0"] == first + second).all() and (outputs["OUTPUT1"] == first - second).all()
    told = json.loads(answer.content[: int(answer.headers["inference-header-content-length"])])["outputs"]
    assert "data" in told[0] and told[1]["parameters"] == {"binary_data_size": 64}


def test_numbers_in_text_and_a_single_value(graphs):
    words = np.array([[str(n) for n in range(16)]], dtype=object)
    ones = np.full((1, 16), "1", dtype=object)
    body, headers = binary_body([("INPUT0", "BYTES", words), ("INPUT1", "BYTES", ones)])
    outputs = graphs.post("/v2/models/simple_string/infer", content=body, headers=headers).json()["outputs"]
    assert outputs[0]["data"] == [str(n + 1) for n in range(16)] and outputs[1]["data"] == [str(n - 1) for n in range(16)]
    value = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [], "data": [2.5]}]}
    assert graphs.post("/v2/models/value/infer", json=value).json()["outputs"] == [
        {"name": "OUTPUT0", "datatype": "FP32", "shape": [], "data": [2.5]}
    ]


def test_an_answer_that_is_no_number_is_null_in_json_and_itself_in_bytes(graphs):
    inputs = [("x", "FP32", np.array([1, -1, 0], np.float32)), ("y", "FP32", np.zeros(3, np.float32))]
    body, headers = binary_body(inputs)
    assert graphs.post("/v2/models/ratio/infer", content=body, headers=headers).json()["outputs"][0]["data"] == [None] * 3
    body, headers = binary_body(inputs, parameters={"binary_data_output": True})
    given = read_outputs(graphs.post("/v2/models/ratio/infer", content=body, headers=headers))["z"]
    assert given[0] == np.inf and given[1] == -np.inf and np.isnan(given[2])
    nan = [("x", "FP32", np.array([np.nan], np.float32)), ("y", "FP32", np.ones(1, np.float32))]
    body, headers = binary_body(nan, parameters={"binary_data_output": True})
    assert np.isnan(read_outputs(graphs.post("/v2/models/ratio/infer", content=body, headers=headers))["z"]).all()


def test_numbers_of_one_shape_can_be_asked_for_as_rows_too(graphs):
    rows = [{"INPUT0": [1, 2, 3, 4], "INPUT1": [0.5, 0, -1, 9]}, {"INPUT0": [0, 0, 0, 0], "INPUT1": [1, 1, 1, 1]}]
    answer = graphs.post("/predict/rows", json={"instances": rows})
    assert answer.json()["predictions"] == [
        {"OUTPUT0": [1.5, 2, 2, 13], "OUTPUT1": [0.5, 2, 4, -5]},
        {"OUTPUT0": [1, 1, 1, 1], "OUTPUT1": [-1, -1, -1, -1]},
    ]
    single = graphs.post("/predict/dense", json={"instances": [[0.0] * 64, [1.0] * 64]}).json()["predictions"]
    assert len(single) == 2 and len(single[0]) == 8
    refused = graphs.post("/predict/simple", json={"instances": [[1] * 16]})
    assert refused.status_code == 422 and "/v2/models/" in refused.json()["detail"]


def test_many_rows_and_few_get_the_same_answers(graphs):
    rows = np.random.default_rng(2).standard_normal((37, 64)).astype(np.float32)

    def ask(some: np.ndarray) -> np.ndarray:
        body, headers = binary_body([("x", "FP32", some)], parameters={"binary_data_output": True})
        return read_outputs(graphs.post("/v2/models/dense/infer", content=body, headers=headers))["y"]

    whole = ask(rows)
    assert np.concatenate([ask(rows[at : at + 1]) for at in range(37)]).tobytes() == whole.tobytes()
    assert ask(rows[5:30]).tobytes() == whole[5:30].tobytes()


NOT_FITTING = {
    "another datatype": ("rows", [("INPUT0", "INT32", np.zeros((1, 4), np.int32))], "takes FP32, given was INT32"),
    "another shape": ("rows", [("INPUT0", "FP32", np.zeros((1, 5), np.float32))], "[1, 5], the model takes [-1, 4]"),
    "another number of axes": ("rows", [("INPUT0", "FP32", np.zeros(4, np.float32))], "the model takes [-1, 4]"),
    "an input that is missing": ("rows", [("INPUT0", "FP32", np.zeros((1, 4), np.float32))], "'INPUT1' is missing"),
    "rows that differ": (
        "rows",
        [("INPUT0", "FP32", np.zeros((1, 4), np.float32)), ("INPUT1", "FP32", np.zeros((2, 4), np.float32))],
        "'INPUT0' has 1, 'INPUT1' has 2",
    ),
    "no rows": (
        "rows",
        [("INPUT0", "FP32", np.zeros((0, 4), np.float32)), ("INPUT1", "FP32", np.zeros((0, 4), np.float32))],
        "at least one",
    ),
    "an input that is unknown": ("rows", [("INPUT2", "FP32", np.zeros((1, 4), np.float32))], "no input 'INPUT2'"),
    "bytes that are no text": (
        "copy_bytes",
        [("INPUT0", "BYTES", np.array([["a", b"\xff\xfe"]], object))],
        "element 2 is not UTF-8",
    ),
}


@pytest.mark.parametrize("what", NOT_FITTING)
def test_tensors_that_do_not_fit_are_told_by_name(graphs, what):
    name, inputs, told = NOT_FITTING[what]
    body, headers = binary_body(inputs)
    answer = graphs.post(f"/v2/models/{name}/infer", content=body, headers=headers)
    assert answer.status_code == 400 and told in answer.json()["error"], answer.text


NOT_JSON_VALUES = {
    "too large": ("INT8", [128], "too large"),
    "too small": ("UINT16", [-1], "too large"),
    "not whole": ("INT32", [1.5], "not whole"),
    "true for a number": ("FP32", [True], "not a number"),
    "null": ("FP64", [None], "not a number"),
    "text for a number": ("INT64", ["1"], "not a number"),
    "a number for a truth": ("BOOL", [1], "neither true nor false"),
    "a number for text": ("BYTES", [1], "no text"),
    "beyond 32 bits": ("FP32", [1e39], "FP32 does not reach"),
    "beyond 64 bits": ("UINT64", [2**64], "UINT64 does not reach"),
    "half numbers": ("FP16", [1.0], "FP16, which has no form in JSON"),
}


@pytest.mark.parametrize("what", NOT_JSON_VALUES)
def test_json_values_that_a_datatype_does_not_hold_are_refused(graphs, what):
    datatype, data, told = NOT_JSON_VALUES[what]
    body = {"inputs": [{"name": "INPUT0", "datatype": datatype, "shape": [1, 1], "data": data}]}
    answer = graphs.post(f"/v2/models/copy_{datatype.lower()}/infer", json=body)
    assert answer.status_code == 400 and told in answer.json()["error"], answer.text


def test_half_numbers_are_answered_in_bytes_alone(graphs):
    values = np.array([[1.5]], np.float16)
    body, headers = binary_body([("INPUT0", "FP16", values)])
    refused = graphs.post("/v2/models/copy_fp16/infer", content=body, headers=headers)
    assert refused.status_code == 400 and "FP16" in refused.json()["error"] and "binary_data" in refused.json()["error"]

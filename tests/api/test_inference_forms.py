"""Open Inference Protocol over JSON: every datatype and shape that the protocol allows for a column gives the same answer."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from workshop import Plane

from modeltap import __version__
from modeltap.data.images import encode_png


def infer(plane: Plane, name: str, inputs: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    answer = plane.post(f"/v2/models/{name}/infer", json={"inputs": inputs, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def tensor(name: str, shape: list[int], datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


@pytest.fixture(scope="module")
def people(samples) -> list[dict[str, Any]]:
    return samples.people[1:5]


@pytest.fixture(scope="module")
def expected(plane, people) -> list[Any]:
    rows = [{name: person[name] for name in ("age", "city", "joined", "member")} for person in people]
    return plane.post("/predict/people", json={"instances": rows}).json()["predictions"]


def test_every_datatype_and_shape_of_columns_gets_the_same_answers(plane, people, expected):
    ages = [person["age"] for person in people]
    cities = [person["city"] for person in people]
    joined = [person["joined"] for person in people]
    seconds = [datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() for day in joined]
    members = [person["member"] for person in people]
    n = len(people)
    age_forms = [
        tensor("age", [n], "FP64", ages),
        tensor("age", [n, 1], "FP64", ages),
        tensor("age", [n, 1], "FP32", [[age] for age in ages]),
        tensor("age", [n], "BYTES", [str(age) for age in ages]),
    ]
    city_forms = [tensor("city", [n], "BYTES", cities), tensor("city", [n, 1], "BYTES", [[city] for city in cities])]
    joined_forms = [
        tensor("joined", [n], "BYTES", joined),
        tensor("joined", [n], "FP64", seconds),
        tensor("joined", [n, 1], "INT64", [[int(second)] for second in seconds]),
    ]
    member_forms = [
        tensor("member", [n], "BOOL", members),
        tensor("member", [n], "INT64", [int(member) for member in members]),
        tensor("member", [n, 1], "FP32", [[float(member)] for member in members]),
        tensor("member", [n], "BYTES", [str(member) for member in members]),
        tensor("member", [n], "UINT8", [int(member) for member in members]),
    ]
    probabilities = [number for answer in expected for number in answer["scores"].values()]
    for place in range(max(map(len, (age_forms, city_forms, joined_forms, member_forms)))):
        chosen = [forms[place % len(forms)] for forms in (member_forms, joined_forms, city_forms, age_forms)]
        answer = infer(plane, "people", chosen)
        assert answer["outputs"] == [
            {"name": "prediction", "shape": [n, 2], "datatype": "FP32", "data": probabilities},
            {"name": "label", "shape": [n], "datatype": "BYTES", "data": [one["label"] for one in expected]},
        ]


def test_whole_numbers_are_a_number_in_every_integer_type(plane):
    expected = infer(plane, "income", [tensor("age", [1], "FP64", [41]), tensor("city", [1], "BYTES", ["Bonn"])])
    for datatype in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32"):
        given = infer(plane, "income", [tensor("age", [1], datatype, [41]), tensor("city", [1], "BYTES", ["Bonn"])])
        assert given == expected
    assert infer(plane, "income", [tensor("age", [1], "FP64", [41]), tensor("city", [1, 1], "BYTES", ["Bonn"])]) == expected
    assert [output["shape"] for output in expected["outputs"]] == [[1]]


def test_a_missing_value_is_null(plane):
    given = infer(plane, "income", [tensor("age", [2], "FP64", [None, 41]), tensor("city", [2], "BYTES", [None, "Bonn"])])
    rows = [{"age": None, "city": None}, {"age": 41, "city": "Bonn"}]
    assert given["outputs"][0]["data"] == plane.post("/predict/income", json={"instances": rows}).json()["predictions"]


@pytest.mark.parametrize("name", ["digits", "pictures"])
def test_pictures_are_pixels_in_any_nesting_or_files_in_base64(plane, samples, name):
    own = {"digits": "x", "pictures": "image"}[name]
    pixels = samples.digits[:3]
    expected = plane.post(f"/predict/{name}", json={"instances": pixels.tolist()}).json()["predictions"]
    forms = [
        tensor(own, [3, 8, 8], "UINT8", pixels.tolist()),
        tensor(own, [3, 8, 8], "UINT8", pixels.reshape(-1).tolist()),
        tensor(own, [3, 8, 8], "UINT8", pixels.reshape(3, 64).tolist()),
        tensor(own, [3, 8, 8, 1], "UINT8", pixels[..., None].tolist()),
        tensor(own, [3, 1, 8, 8], "INT64", pixels[:, None].tolist()),
        tensor(own, [3, 8, 8], "FP32", pixels.astype(float).tolist()),
        tensor(own, [3], "BYTES", [base64.b64encode(encode_png(picture)).decode() for picture in pixels]),
        tensor(own, [3, 1], "BYTES", [[base64.b64encode(encode_png(picture)).decode()] for picture in pixels]),
    ]
    for form in forms:
        given = infer(plane, name, [form])
        assert given["outputs"][1]["data"] == [answer["label"] for answer in expected]
        assert given["outputs"][0]["data"] == [p for answer in expected for p in answer["scores"].values()]


def test_arrays_are_taken_flat_and_nested(plane, samples):
    signals = samples.signals[:4]
    forms = [
        tensor("x", [4, 100], "FP32", signals.tolist()),
        tensor("x", [4, 100], "FP32", signals.reshape(-1).tolist()),
        tensor("x", [4, 100, 1], "FP64", signals[..., None].tolist()),
    ]
    answers = [infer(plane, "signals", [form]) for form in forms]
    assert answers[0] == answers[1] == answers[2]
    singles = [infer(plane, "signals", [tensor("x", [1, 100], "FP32", row)]) for row in signals.tolist()]
    assert [p for one in singles for p in one["outputs"][0]["data"]] == answers[0]["outputs"][0]["data"]


def test_an_answer_echoes_the_id_and_gives_the_outputs_that_are_asked_for(plane, samples):
    inputs = [tensor("x", [1, 100], "FP32", samples.signals[0].tolist())]
    every = infer(plane, "signals", inputs, id="my id \u2028 7")
    assert every["id"] == "my id \u2028 7" and every["model_name"] == "signals" and every["model_version"] == "1"
    assert "id" not in infer(plane, "signals", inputs)
    labels = infer(plane, "signals", inputs, outputs=[{"name": "label"}])
    assert [output["name"] for output in labels["outputs"]] == ["label"]
    turned = infer(plane, "signals", inputs, outputs=[{"name": "label"}, {"name": "prediction", "parameters": {"a": 1}}])
    assert turned["outputs"] == every["outputs"][::-1]
    assert infer(plane, "signals", inputs, outputs=[])["outputs"] == []


def test_a_version_path_leads_to_the_version_that_is_served(plane, samples):
    inputs = [tensor("x", [1, 100], "FP32", samples.signals[0].tolist())]
    by_name = plane.post("/v2/models/signals/infer", json={"inputs": inputs})
    by_version = plane.post("/v2/models/signals/versions/1/infer", json={"inputs": inputs})
    assert by_version.json() == by_name.json()
    assert by_version.headers["modeltap-model"] == "signals@1" and by_version.headers["x-request-id"].startswith("req-")
    gone = plane.post("/v2/models/signals/versions/2/infer", json={"inputs": inputs})
    assert gone.status_code == 404 and "version '2' is not found" in gone.json()["error"]
    assert plane.get("/v2/models/signals/versions/1").json() == plane.get("/v2/models/signals").json()
    assert plane.get("/v2/models/signals/versions/1/ready").json() == {"name": "signals", "ready": True}


def test_metadata_and_health(plane):
    server = plane.get("/v2").json()
    assert server["name"] == "modeltap" and server["version"] == __version__ and isinstance(server["extensions"], list)
    assert plane.get("/v2/health/live").json() == {"live": True}
    assert plane.get("/v2/health/ready", headers={"authorization": ""}).json() == {"ready": True}
    model = plane.get("/v2/models/digits").json()
    assert model["name"] == "digits" and model["versions"] == ["1"] and model["platform"]
    assert model["inputs"] == [{"name": "x", "datatype": "UINT8", "shape": [-1, 8, 8]}]
    assert model["outputs"] == [
        {"name": "y_pred", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/ready"), ("POST", "/infer"), ("GET", "/versions/3")])
def test_an_unknown_model_is_told_in_the_words_that_clients_know(plane, method, rest):
    answer = plane.request(method, f"/v2/models/nobody{rest}", json={} if method == "POST" else None)
    assert answer.status_code == 404
    assert answer.json() == {"error": "Request for unknown model: 'nobody' is not found"}


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no inputs": ({}, ["inputs"]),
    "an input that is unknown": ({"inputs": [tensor("xx", [1, 100], "FP32", [0.0] * 100)]}, ["'xx'", "did you mean 'x'"]),
    "an input that is missing": ({"inputs": []}, ["'x' is missing"]),
    "an input twice": ({"inputs": [tensor("x", [1, 100], "FP32", [0.0] * 100)] * 2}, ["there twice"]),
    "another datatype": ({"inputs": [tensor("x", [1, 100], "BYTES", ["0"] * 100)]}, ["takes FP32", "given was BYTES"]),
    "an unknown datatype": ({"inputs": [tensor("x", [1, 100], "FLOAT", [0.0] * 100)]}, ["FLOAT"]),
    "too few elements": ({"inputs": [tensor("x", [1, 100], "FP32", [0.0] * 99)]}, ["99 elements", "says 100"]),
    "another shape": ({"inputs": [tensor("x", [1, 10], "FP32", [0.0] * 10)]}, ["[1, 10]", "[N, 100]"]),
    "a shape of billions": ({"inputs": [tensor("x", [10**12, 100], "FP32", [0.0])]}, ["1 elements", "says 100000000000000"]),
    "a shape of a thousand axes": ({"inputs": [tensor("x", [2**40] * 1000, "FP32", [0.0])]}, ["at most 8"]),
    "a negative shape": ({"inputs": [tensor("x", [-1, 100], "FP32", [0.0] * 100)]}, ["shape"]),
    "no shape": ({"inputs": [tensor("x", [], "FP32", [])]}, ["shape"]),
    "no rows": ({"inputs": [tensor("x", [0, 100], "FP32", [])]}, ["at least one"]),
    "no data": ({"inputs": [{"name": "x", "shape": [1, 100], "datatype": "FP32"}]}, ["no data"]),
    "ragged data": ({"inputs": [tensor("x", [2, 100], "FP32", [[0.0] * 100, 0.0])]}, ["mixes"]),
    "a text among numbers": ({"inputs": [tensor("x", [1, 100], "FP32", ["a"] + [0.0] * 99)]}, ["not a number"]),
    "a null in an array": ({"inputs": [tensor("x", [1, 100], "FP32", [None] + [0.0] * 99)]}, ["not a number"]),
    "an unknown output": (
        {"inputs": [tensor("x", [1, 100], "FP32", [0.0] * 100)], "outputs": [{"name": "labels"}]},
        ["no output 'labels'", "did you mean 'label'"],
    ),
    "an output twice": (
        {"inputs": [tensor("x", [1, 100], "FP32", [0.0] * 100)], "outputs": [{"name": "label"}, {"name": "label"}]},
        ["twice"],
    ),
    "inputs that are no list": ({"inputs": {"x": 1}}, ["inputs"]),
    "a number as id": ({"inputs": [], "id": 7}, ["id"]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_request_that_does_not_fit_is_a_400_with_one_text(plane, what):
    body, told = BAD[what]
    answer = plane.post("/v2/models/signals/infer", json=body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    for piece in told:
        assert piece in answer.json()["error"]


def test_a_path_that_is_none_and_a_method_that_it_does_not_take(plane):
    for path in ("/v2/models", "/v2/models/signals/infer/x", "/v2/models/signals/configs", "/v2/repository"):
        assert plane.get(path).status_code == 404
    for method, path in (("GET", "/v2/models/signals/infer"), ("POST", "/v2"), ("DELETE", "/v2/models/signals")):
        answer = plane.request(method, path)
        assert answer.status_code == 405 and list(answer.json()) == ["error"]

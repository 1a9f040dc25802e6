"""Whatever form rows come in, and however many come at once, each row's answer is the same to the bit."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served_models import csv_line
from workshop import Plane

from modeltap.data.images import encode_png

FEATURES = ["age", "city", "joined", "member"]
EVERY = ["id", *FEATURES, "kind"]


def predictions(plane: Plane, path: str, **body: Any) -> list[Any]:
    answer = plane.post(path, **body)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"predictions", "model", "id"}
    return answer.json()["predictions"]


def csv_body(lines: list[str], content_type: str = "text/csv") -> dict[str, Any]:
    return {"content": "\n".join(lines).encode(), "headers": {"content-type": content_type}}


@pytest.fixture(scope="module")
def people(samples) -> list[dict[str, Any]]:
    return samples.people[:30]


@pytest.fixture(scope="module")
def expected(plane, people) -> list[Any]:
    """Each row alone, as an object of the features."""
    rows = [{name: person[name] for name in FEATURES} for person in people]
    return [predictions(plane, "/predict/people", json={"instances": [row]})[0] for row in rows]


def forms_of_people(people: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    rows = [{name: person[name] for name in FEATURES} for person in people]
    arrays = [[person[name] for name in EVERY] for person in people]
    return {
        "objects": {"json": {"instances": rows}},
        "objects with id and target": {"json": {"instances": people}},
        "a bare array of objects": {"json": rows},
        "objects in another order of keys": {"json": {"instances": [dict(reversed(row.items())) for row in rows]}},
        "everything in quotes": {
            "json": {"instances": [{k: None if v is None else str(v) for k, v in row.items()} for row in rows]}
        },
        "arrays of every column": {"json": {"instances": arrays}},
        "arrays without the target": {"json": {"instances": [row[:-1] for row in arrays]}},
        "arrays of the features": {"json": {"instances": [row[1:-1] for row in arrays]}},
        "numbers for truths": {"json": {"instances": [{**row, "member": int(row["member"])} for row in rows]}},
        "csv with a header": csv_body([",".join(EVERY), *(csv_line(p, EVERY) for p in people)]),
        "csv with a header of the features": csv_body([",".join(FEATURES), *(csv_line(p, FEATURES) for p in people)]),
        "csv without a header": csv_body([csv_line(p, EVERY) for p in people]),
        "csv without header and target": csv_body([csv_line(p, EVERY[:-1]) for p in people]),
        "csv of the features alone": csv_body([csv_line(p, FEATURES) for p in people]),
        "csv with semicolons": csv_body([";".join(EVERY), *(csv_line(p, EVERY, ";") for p in people)]),
        "csv with semicolons, without a header": csv_body([csv_line(p, FEATURES, ";") for p in people]),
        "tab-separated": csv_body([csv_line(p, EVERY, "\t") for p in people], "text/tab-separated-values"),
        "csv with Windows line ends and a byte order mark": {
            "content": ("\ufeff" + "\r\n".join([",".join(EVERY), *(csv_line(p, EVERY) for p in people)])).encode(),
            "headers": {"content-type": "text/csv; charset=utf-8"},
        },
        "csv in UTF-16": {
            "content": "\n".join(csv_line(p, FEATURES) for p in people).encode("utf-16"),
            "headers": {"content-type": "text/csv"},
        },
        "csv in latin-1": {
            "content": "\n".join(csv_line(p, FEATURES) for p in people).encode("latin-1"),
            "headers": {"content-type": 'text/csv; charset="ISO-8859-1"'},
        },
        "a form with a csv file": {
            "files": {"file": ("rows.csv", "\n".join(csv_line(p, FEATURES) for p in people), "text/csv")}
        },
        "json that curl calls a form": {
            "content": b'{"instances": ' + _json(rows) + b"}",
            "headers": {"content-type": "application/x-www-form-urlencoded"},
        },
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.parametrize("form", forms_of_people([dict.fromkeys(EVERY, 0)]))
def test_every_form_of_table_rows_gets_the_same_answers(plane, people, expected, form):
    assert predictions(plane, "/predict/people", **forms_of_people(people)[form]) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 30])
def test_an_answer_does_not_depend_on_the_rows_beside_it(plane, people, expected, size):
    rows = [{name: person[name] for name in FEATURES} for person in people]
    answers: list[Any] = []
    for start in range(0, len(rows), size):
        answers += predictions(plane, "/predict/people", json={"instances": rows[start : start + size]})
    assert answers == expected


def test_columns_get_the_outputs_of_the_graph_by_name(plane, people, expected):
    columns = {name: [person[name] for person in people] for name in FEATURES}
    answer = plane.post("/predict/people", json={"inputs": columns}).json()
    assert list(answer) == ["outputs", "model", "id"]
    assert answer["outputs"]["label"] == [row["label"] for row in expected]
    assert answer["outputs"]["prediction"] == [list(row["scores"].values()) for row in expected]


def test_a_bare_object_gets_a_bare_object(plane, people, expected):
    row = {name: people[0][name] for name in FEATURES}
    columns = {name: [person[name] for person in people] for name in FEATURES}
    assert plane.post("/predict/people", json=row).json() == {"prediction": expected[0]}
    assert plane.post("/predict/people", json=people[0]).json() == {"prediction": expected[0]}
    assert plane.post("/predict/people", json=columns).json() == {"prediction": expected}


def test_the_fields_of_a_form_are_one_row(plane, people, expected):
    fields = {name: "" if people[0][name] is None else str(people[0][name]) for name in FEATURES}
    assert predictions(plane, "/predict/people", files={name: (None, text) for name, text in fields.items()}) == expected[:1]


def test_the_default_deployment_answers_without_a_name(plane, people, expected):
    row = {name: people[0][name] for name in FEATURES}
    assert predictions(plane, "/predict", json={"instances": [row]}) == expected[:1]


def test_a_classifier_says_label_score_and_all_scores(expected):
    for answer in expected:
        assert list(answer) == ["label", "score", "scores"]
        assert set(answer["scores"]) == {"cheap", "dear"}
        assert answer["score"] == max(answer["scores"].values()) == answer["scores"][answer["label"]]
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-6)


def test_a_regression_says_a_number_in_every_form(plane):
    rows = [{"age": 31.5, "city": "Köln"}, {"age": None, "city": "Bonn"}, {"age": 58, "city": "never seen"}]
    expected = predictions(plane, "/predict/income", json={"instances": rows})
    assert all(isinstance(number, float) for number in expected)
    forms: list[dict[str, Any]] = [
        {"json": {"instances": [["31,5", "Köln"], [None, "Bonn"], ["58", "never seen"]]}},
        {"json": {"instances": [["31.5", "Köln"], ["NA", "Bonn"], [58.0, "never seen"]]}},
        csv_body(["31,5;Köln", ";Bonn", "58;never seen"]),
        csv_body(["31,5;Köln;99", ";Bonn;99", "58;never seen;"]),
        csv_body(["age;city", "31,5;Köln", "?;Bonn", "58;never seen"]),
        csv_body(["city,age", 'Köln,"31,5"', "Bonn,", "never seen,58"]),
    ]
    for form in forms:
        assert predictions(plane, "/predict/income", **form) == expected
    assert plane.post("/predict/income", json=rows[0]).json() == {"prediction": expected[0]}
    columns = {"age": [31.5, None, 58], "city": ["Köln", "Bonn", "never seen"]}
    assert plane.post("/predict/income", json={"inputs": columns}).json()["outputs"] == {"prediction": expected}


def bmp(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "BMP")
    return out.getvalue()


def forms_of_pictures(pixels: np.ndarray, name: str) -> dict[str, dict[str, Any]]:
    encoded = [base64.b64encode(encode_png(picture)).decode() for picture in pixels]
    nested = pixels.tolist()
    with_channel = pixels[..., None].tolist()
    as_files = [("file", (f"{i}.png", encode_png(picture), "image/png")) for i, picture in enumerate(pixels)]
    return {
        "base64": {"json": {"instances": encoded}},
        "base64 with line breaks": {"json": {"instances": [text[:20] + "\n" + text[20:] for text in encoded]}},
        "data URLs": {"json": {"instances": [f"data:image/png;base64,{text}" for text in encoded]}},
        "nested numbers": {"json": {"instances": nested}},
        "nested numbers with a channel": {"json": {"instances": with_channel}},
        "whole floats": {"json": {"instances": pixels.astype(float).tolist()}},
        "objects": {"json": {"instances": [{name: picture} for picture in nested]}},
        "objects of base64": {"json": {"instances": [{name: text} for text in encoded]}},
        "another lossless file": {"json": {"instances": [base64.b64encode(bmp(p)).decode() for p in pixels]}},
        "a form of files": {"files": as_files},
        "lines of pixels": csv_body([",".join(map(str, picture.reshape(-1))) for picture in pixels]),
        "lines of base64": csv_body(encoded),
    }


@pytest.mark.parametrize("name", ["digits", "pictures"])
def test_every_form_of_pictures_gets_the_same_answers(plane, samples, name):
    own = {"digits": "x", "pictures": "image"}[name]
    output = {"digits": "y_pred", "pictures": "prediction"}[name]
    pixels = samples.digits[:5]
    expected = [predictions(plane, f"/predict/{name}", json={"instances": [p.tolist()]})[0] for p in pixels]
    for form, body in forms_of_pictures(pixels, own).items():
        assert predictions(plane, f"/predict/{name}", **body) == expected, form
    for place, picture in enumerate(pixels):
        png = {"content": encode_png(picture), "headers": {"content-type": "image/png"}}
        assert predictions(plane, f"/predict/{name}", **png) == expected[place : place + 1]
        octets = {"content": encode_png(picture), "headers": {"content-type": "application/octet-stream"}}
        assert predictions(plane, f"/predict/{name}", **octets) == expected[place : place + 1]
        for one in (picture.tolist(), picture[..., None].tolist(), base64.b64encode(encode_png(picture)).decode()):
            assert plane.post(f"/predict/{name}", json={own: one}).json() == {output: expected[place]}
    for many in (pixels.tolist(), pixels[..., None].tolist(), [base64.b64encode(encode_png(p)).decode() for p in pixels]):
        assert plane.post(f"/predict/{name}", json={own: many}).json() == {output: expected}
    assert plane.post(f"/predict/{name}", json={own: pixels[:1].tolist()}).json() == {output: expected[:1]}
    columns = plane.post(f"/predict/{name}", json={"inputs": {own: pixels.tolist()}}).json()["outputs"]
    assert columns["label"] == [answer["label"] for answer in expected]
    assert plane.post(f"/predict/{name}", json={"inputs": pixels.tolist()}).json()["outputs"] == columns


def test_the_same_pictures_as_arrays_and_as_files_are_read_alike(plane, samples):
    """Training on PNG files and being asked with numbers, and the other way round, is the same."""
    pixels = samples.digits[:40]
    by_files = [("file", (f"{i}.png", encode_png(p), "image/png")) for i, p in enumerate(pixels)]
    for name in ("digits", "pictures"):
        in_numbers = predictions(plane, f"/predict/{name}", json={"instances": pixels.tolist()})
        assert predictions(plane, f"/predict/{name}", files=by_files) == in_numbers


def test_every_form_of_arrays_gets_the_same_answers(plane, samples):
    signals = samples.signals[:9]
    expected = [predictions(plane, "/predict/signals", json={"instances": [row.tolist()]})[0] for row in signals]
    forms: dict[str, dict[str, Any]] = {
        "arrays": {"json": {"instances": signals.tolist()}},
        "objects": {"json": {"instances": [{"x": row} for row in signals.tolist()]}},
        "objects with the target": {"json": {"instances": [{"x": row, "label": 1} for row in signals.tolist()]}},
        "numbers in quotes": {"json": {"instances": [[str(number) for number in row] for row in signals.tolist()]}},
        "a last axis of one": {"json": {"instances": signals[..., None].tolist()}},
        "lines": csv_body([",".join(map(str, row)) for row in signals.tolist()]),
        "lines with semicolons": csv_body([";".join(map(str, row)) for row in signals.tolist()]),
        "a form with a file": {"files": {"f": ("rows.csv", "\n".join(",".join(map(str, r)) for r in signals.tolist()))}},
    }
    for form, body in forms.items():
        assert predictions(plane, "/predict/signals", **body) == expected, form
    assert plane.post("/predict/signals", json={"x": signals[0].tolist()}).json() == {"prediction": expected[0]}
    assert plane.post("/predict/signals", json={"x": signals.tolist()}).json() == {"prediction": expected}
    assert plane.post("/predict/signals", json={"x": signals[:1].tolist()}).json() == {"prediction": expected[:1]}


@pytest.mark.parametrize("name", ["digits", "signals", "income"])
def test_networks_answer_each_row_alike_alone_and_in_batches_of_any_size(plane, samples, name):
    rows: list[Any]
    if name == "income":
        rows = [{"age": person["age"], "city": person["city"][:4]} for person in samples.people]
    else:
        rows = getattr(samples, name)[:100].tolist()
    whole = predictions(plane, f"/predict/{name}", json={"instances": rows})
    for size in (1, 2, 3, 7, 8, 31, 64):
        for start in (0, 5, len(rows) - size):
            part = predictions(plane, f"/predict/{name}", json={"instances": rows[start : start + size]})
            assert part == whole[start : start + size], (size, start)


def test_headers_name_the_request_and_the_version(plane, people):
    row = {name: people[0][name] for name in FEATURES}
    answer = plane.post("/predict/people", json={"instances": [row]}, headers={"x-request-id": "my.own-id_1"})
    assert answer.headers["x-request-id"] == answer.json()["id"] == "my.own-id_1"
    assert answer.headers["modeltap-model"] == answer.json()["model"] == "people@1"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\tb", "<script>", "ä"])
def test_a_strange_request_id_is_replaced(plane, given):
    answer = plane.post("/predict/people", json={}, headers={"x-request-id": given.encode("latin-1")})
    assert answer.headers["x-request-id"].startswith("req-")


def test_a_long_body_is_answered_as_a_short_one(plane, people, expected):
    rows = [{name: person[name] for name in FEATURES} for person in people] * 60
    assert predictions(plane, "/predict/people", json={"instances": rows}) == expected * 60

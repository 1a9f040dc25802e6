"""/explain takes what /predict takes, says the same for the same row in whatever form, and charges the rows that were run."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from foreign_graphs import dense
from PIL import Image
from served_graphs import shelve
from served_models import csv_line
from workshop import Plane, Workshop

from modeltap.data.images import encode_png
from text_models import train_mood, train_vectors

FEATURES = ["age", "city", "joined", "member"]
FEW = "?rows=300"


@pytest.fixture(scope="module")
def texts(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A plane of models that are no tables: `mood`, `vectors`, and `dense`, an imported graph."""
    graph = shelve(workshop, "explained-dense", dense(), tmp_path_factory.mktemp("dense"))
    versions = {
        "mood": train_mood(workshop, "explained-mood")["version"],
        "vectors": train_vectors(workshop, "explained-vectors")["version"],
        "dense": graph,
    }
    made = Plane(workshop, versions)
    yield made
    made.close()


def explained(plane: Plane, path: str, **body: Any) -> list[dict[str, Any]]:
    answer = plane.post(path, **body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert set(told) == {"explanations", "model", "rows", "id"}
    assert told["rows"] == sum(one["rows"] for one in told["explanations"])
    assert answer.headers["modeltap-model"] == told["model"]
    return told["explanations"]


def refused(plane: Plane, path: str, status: int, **body: Any) -> str:
    answer = plane.post(path, **body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["detail"]


def row_of(person: dict[str, Any]) -> dict[str, Any]:
    return {name: person[name] for name in FEATURES}


def test_a_row_is_explained_the_same_in_whatever_form_it_comes(plane, samples):
    person = samples.people[0]
    path = f"/explain/people{FEW}"
    (expected,) = explained(plane, path, json={"instances": [row_of(person)]})
    csv = "\n".join([",".join(FEATURES), csv_line(person, FEATURES)])
    forms: dict[str, dict[str, Any]] = {
        "bare": {"json": row_of(person)},
        "array": {"json": [[person[name] for name in FEATURES]]},
        "columns": {"json": {"inputs": {name: [person[name]] for name in FEATURES}}},
        "csv": {"content": csv.encode(), "headers": {"content-type": "text/csv"}},
        "form": {"files": {"file": ("rows.csv", csv, "text/csv")}},
    }
    for name, body in forms.items():
        assert explained(plane, path, **body) == [expected], name
    assert explained(plane, f"/v1/models/people:explain{FEW}", json={"instances": [row_of(person)]}) == [expected]
    assert explained(plane, f"/explain{FEW}", json={"instances": [row_of(person)]}) == [expected]
    assert {one["column"] for one in expected["values"]} == set(FEATURES)
    prediction = plane.post("/predict/people", json={"instances": [row_of(person)]}).json()["predictions"][0]
    assert expected["prediction"] == prediction
    assert expected["class"] == prediction["label"]
    assert expected["answer"] == prediction["score"]
    assert expected["fidelity"]["additivity_gap"] < 1e-6


def test_the_same_call_twice_gives_the_same_bytes_and_another_seed_another_explanation(plane, samples):
    body = {"json": {"instances": [row_of(samples.people[1])]}, "headers": {"x-request-id": "the-same"}}
    first, second = (plane.post(f"/explain/people{FEW}&seed=4", **body) for _ in range(2))
    assert first.content == second.content
    assert first.content != plane.post(f"/explain/people{FEW}&seed=5", **body).content


def test_several_rows_are_explained_as_each_is_alone(plane, samples):
    rows = [row_of(person) for person in samples.people[:3]]
    together = explained(plane, f"/explain/people{FEW}", json={"instances": rows})
    assert together == [explained(plane, f"/explain/people{FEW}", json=[row])[0] for row in rows]


def test_a_number_is_explained_by_its_way_from_the_mean_of_the_background(plane):
    (told,) = explained(plane, "/explain/income", json={"instances": [{"age": "63,5", "city": "Bonn"}]})
    assert told["answer"] == told["prediction"]
    total = told["base"] + sum(one["shapley"] for one in told["values"])
    assert total == pytest.approx(told["answer"])
    assert told["values"][0]["column"] == "age" and told["values"][0]["value"] == 63.5
    assert told["values"][0]["shapley"] > 0, "income rises with age"


def test_an_array_is_explained_by_blocks_of_its_numbers(plane, samples):
    (told,) = explained(plane, "/explain/signals", json={"instances": samples.signals[:1].tolist()})
    assert len(told["values"]) == 64
    assert {"x[0:2]", "x[2:4]", "x[4:5]"} < {one["column"] for one in told["values"]}
    assert told["base"] + sum(one["shapley"] for one in told["values"]) == pytest.approx(told["answer"])
    assert told["values"][0]["value"] is None, "a block of two numbers has no value of its own"


@pytest.mark.parametrize("method", ["occlusion", "rise"])
@pytest.mark.parametrize("name", ["digits", "pictures"])
def test_a_picture_is_explained_by_its_pixels_and_drawn(plane, samples, name, method):
    (told,) = explained(plane, f"/explain/{name}{FEW}&method={method}", json={"instances": [samples.digits[5].tolist()]})
    assert np.array(told["heat"]).shape == (8, 8)
    with Image.open(io.BytesIO(base64.b64decode(told["png"]))) as shown:
        assert shown.size == (224, 224)
    assert set(told["fidelity"]) >= {"deletion_auc", "insertion_auc", "random_auc"}
    if name == "pictures":
        body = {"content": encode_png(samples.digits[5]), "headers": {"content-type": "image/png"}}
        assert explained(plane, f"/explain/{name}{FEW}&method={method}", **body) == [told]


def test_a_text_is_explained_by_its_words_in_colour(texts):
    text = "the film is <lovely>, and there is a plot in it"
    (told,) = explained(texts, "/explain/mood", json={"instances": [text]})
    best = max(told["words"], key=lambda word: word["score"])
    assert (best["text"], told["class"]) == ("lovely", "good")
    assert text[best["start"] : best["end"]] == "lovely"
    assert "&lt;" in told["html"] and "<mark" in told["html"]
    assert told["fidelity"]["deletion_auc"] < told["fidelity"]["random_auc"]
    (other,) = explained(texts, "/explain/mood?method=shapley&class=bad&rows=400", json={"instances": [text]})
    assert min(other["words"], key=lambda word: word["score"])["text"] == "lovely"
    assert other["fidelity"]["additivity_gap"] < 1e-6


def test_a_row_that_does_not_fit_is_told_as_predict_tells_it(plane, samples):
    wrong = {"instances": [{**row_of(samples.people[0]), "age": "old"}]}
    assert refused(plane, "/explain/people", 422, json=wrong) == refused(plane, "/predict/people", 422, json=wrong)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/explain/people?method=rise", "a table's row is explained by: shapley"),
        ("/explain/digits?method=shapley", "a picture is explained by: occlusion, rise"),
        ("/explain/people?class=chep", "no class 'chep'; did you mean 'cheap'"),
        ("/explain/income?class=high", "leave it out"),
        ("/explain/people?rows=3", "takes at least"),
        ("/explain/people?rows=20001", "at most 20,000 (explain_max_rows)"),
        ("/explain/people?rows=many", "rows is wrong"),
        ("/explain/people?rows=0", "rows is wrong"),
        ("/explain/people?seed=-1", "seed is wrong"),
        ("/explain/people?timeout_s=0", "timeout_s is wrong"),
        ("/explain/people?methods=rise", "did you mean 'method'"),
        ("/explain/people?rows=300&rows=400", "twice"),
        ("/explain/people?class=%ff", "not UTF-8"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_with_what_is_allowed(plane, samples, path, told):
    name = path.split("?")[0].rpartition("/")[2]
    rows = {"people": row_of(samples.people[0]), "income": {"age": 3, "city": "Bonn"}, "digits": samples.digits[0].tolist()}
    assert told in refused(plane, path, 400, json={"instances": [rows[name]]})


def test_too_many_rows_are_refused_with_the_limit(plane, samples):
    rows = [row_of(person) for person in samples.people[:17]]
    told = refused(plane, "/explain/people", 400, json={"instances": rows})
    assert "17 rows" in told and "at most 16" in told and "MODELTAP_EXPLAIN_MAX_INSTANCES" in told


def test_models_without_a_class_or_number_say_so_whatever_is_sent(texts):
    assert "gives vectors" in refused(texts, "/explain/vectors", 400, json={"instances": ["a text"]})
    assert "bare tensors" in refused(texts, "/explain/dense", 400, content=b"not even JSON")


def test_other_methods_and_other_deployments_are_refused(plane):
    assert plane.get("/explain/people").status_code == 405
    assert plane.post("/explain/nobody", json=[]).status_code == 404
    assert plane.post("/v1/models/nobody:explain", json=[]).status_code == 404


def test_a_version_without_rows_to_compare_with_says_so_and_one_of_before_uses_its_golden_rows(workshop, trained, samples):
    files = {name: path.read_bytes() for name, path in workshop.files(trained["people"]).items()}
    del files["background.json"]
    manifest = workshop.models.get(trained["people"]).manifest
    golden = json.loads(files["golden.json"])
    bare = {**golden, "rows": golden["rows"][-2:], "answers": {k: v[-2:] for k, v in golden["answers"].items()}}
    served = {}
    for name, kept in (("older", golden), ("bare", bare)):
        tree = {**files, "golden.json": json.dumps(kept).encode()}
        digest = workshop.artifacts.put_tree(tree)
        served[name] = workshop.models.add(f"explained-{name}", digest, manifest, None, datetime.now(UTC)).id
    made = Plane(workshop, served)
    try:
        row = {"instances": [row_of(samples.people[0])]}
        (told,) = explained(made, f"/explain/older{FEW}", json=row)
        assert told["backgrounds"] == len(golden["rows"]) - 2
        assert told["fidelity"]["additivity_gap"] < 1e-6
        assert "keeps no rows to compare with" in refused(made, "/explain/bare", 400, json=row)
    finally:
        made.close()

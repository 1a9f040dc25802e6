"""The control API of a real server: what it cannot do is a problem that says what was given, what is allowed and what to do."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import numpy as np
import polars as pl
import pytest
from fault_server import FaultServer

INSIDE = re.compile(r"Traceback|File \"|\.py\b|/tmp|/usr|site-packages|sqlalchemy|pydantic|starlette|object at 0x", re.I)
TABULAR = {"kind": "train", "dataset": "people", "task": "tabular-classification"}
JSON = {"content-type": "application/json"}

Ask = tuple[str, str, dict[str, Any]]


def ask(method: str, path: str, **body: Any) -> Ask:
    return method, path, body


def train(**changes: Any) -> Ask:
    return ask("POST", "/api/jobs", json={**TABULAR, **changes})


def evaluate(**changes: Any) -> Ask:
    return ask("POST", "/api/jobs", json={"kind": "evaluate", "model": "people", "dataset": "people", **changes})


def deploy(name: str, model: str) -> Ask:
    return ask("POST", "/api/deployments", json={"name": name, "model": model})


def upload(query: str, content: bytes = b"a") -> Ask:
    return ask("POST", f"/api/datasets?{query}", content=content)


def yaml_bomb() -> str:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join(lines)


NAN_JOB = b'{"kind":"train","dataset":"people","task":"tabular-classification","set":{"optimizer.lr":NaN}}'
HALF_PAIR = b'{"name": "\\ud800", "model": "people"}'
DENS = {"model": {"architecture": "sequential", "layers": ["dens"]}}
REQUESTS: dict[str, tuple[int, Ask, list[str]]] = {
    "a job without a body": (400, ask("POST", "/api/jobs"), ["body"]),
    "a job that is no JSON": (400, ask("POST", "/api/jobs", content=b"{bad", headers=JSON), ["not JSON"]),
    "a job that is not said to be JSON": (415, ask("POST", "/api/jobs", content=b"{}"), ["content-type: application/json"]),
    "a job nested too deeply": (400, ask("POST", "/api/jobs", content=b"[" * 99_999, headers=JSON), ["nested too deeply"]),
    "a job of no kind": (400, ask("POST", "/api/jobs", json={}), ["'kind' is missing", "'train', 'tune', 'evaluate'"]),
    "a job of an unknown kind": (400, train(kind="tuna"), ["'tuna'", "'train', 'tune', 'evaluate'"]),
    "an unknown field": (400, train(epochs=3), ["epochs: unknown field"]),
    "an unknown dataset": (404, train(dataset="peopel"), ["did you mean 'people'"]),
    "a dataset outside": (400, train(dataset="../x"), ["'../x' cannot name"]),
    "an unknown task": (422, train(task="tabular-clasification"), ["did you mean 'tabular-classification'"]),
    "a task for other data": (422, train(task="image-classification"), ["takes images or arrays, people@1 is table"]),
    "an unknown target": (422, train(target="kid"), ["'kid'", "did you mean 'kind'"]),
    "numbers of a text": (422, train(task="tabular-regression"), ["the target 'kind' is a category", "predicts numbers"]),
    "an unknown recipe key": (422, train(recipe="optimiser: adam"), ["'optimiser'", "did you mean 'optimizer'"]),
    "an unknown architecture": (422, train(recipe="model: mpl"), ["did you mean 'mlp'"]),
    "an unknown layer": (422, train(recipe=DENS), ["model.layers[0]", "did you mean 'dense'"]),
    "a setting of another type": (422, train(set={"epochs": "many"}), ["epochs: needs a whole number", "'many'"]),
    "a model's name with a slash": (400, train(name="a/b"), ["'a/b' cannot name a model"]),
    "NaN in JSON": (400, ask("POST", "/api/jobs", content=NAN_JOB, headers=JSON), ["NaN and Infinity are not JSON"]),
    "no number in a recipe": (422, train(recipe="optimizer: {lr: .nan}"), ["optimizer.lr is nan; a finite number is needed"]),
    "half of a surrogate pair": (400, ask("POST", "/api/deployments", content=HALF_PAIR, headers=JSON), ["not JSON"]),
    "half of a surrogate pair in YAML": (422, train(recipe='data: {target: "\\ud800"}'), ["half of a surrogate pair"]),
    "an offset beyond any file of an unknown job": (404, ask("GET", f"/api/jobs/x/log?offset={10**30}"), ["no job 'x'"]),
    "a limit beyond any list": (400, ask("GET", f"/api/jobs?limit={10**30}"), ["limit: "]),
    "a version beyond any": (400, ask("PUT", "/api/models/people/aliases/a", json={"version": 10**30}), ["version: "]),
    "a YAML bomb": (422, train(recipe=yaml_bomb()), ["too large"]),
    "an unknown version to evaluate": (404, evaluate(model="people@9"), ["'9'", "known: 1"]),
    "an unknown part": (422, evaluate(part="tst"), ["'tst'"]),
    "an unknown job": (404, ask("GET", "/api/jobs/job-none"), ["job-none"]),
    "a job outside": (404, ask("GET", "/api/jobs/..%2f..%2fadmin.key"), ["no path"]),
    "the events of an unknown job": (404, ask("GET", "/api/jobs/job-none/events"), ["job-none"]),
    "an unknown action on an unknown job": (404, ask("POST", "/api/jobs/x/explode"), ["no job 'x'"]),
    "an unknown state": (400, ask("GET", "/api/jobs?state=done"), ["'succeeded'"]),
    "deploying an unknown version": (404, deploy("d", "people@99"), ["'99'", "known: 1"]),
    "deploying an unknown model": (404, deploy("d", "peopel"), ["did you mean 'people'"]),
    "deploying to a name with a slash": (400, deploy("a/b", "people"), ["'a/b' cannot name"]),
    "deploying to two dots": (400, deploy("..", "people"), ["'..' cannot name"]),
    "deploying version 0": (400, deploy("d", "people@0"), ["name@3"]),
    "rolling back to nothing": (409, ask("POST", "/api/deployments/people/rollback"), ["no previous"]),
    "undeploying nothing": (404, ask("DELETE", "/api/deployments/nobody"), ["known: digits, people, signals"]),
    "removing a version in use": (409, ask("DELETE", "/api/models/people@1"), ["'people' routes to people@1"]),
    "an unknown model": (404, ask("GET", "/api/models/nobody"), ["there is no model 'nobody'"]),
    "an alias that is reserved": (400, ask("PUT", "/api/models/people/aliases/latest", json={"version": 1}), ["reserved"]),
    "comparing one": (400, ask("GET", "/api/compare?refs=people"), ["at least two"]),
    "a dataset without a name": (400, ask("POST", "/api/datasets", content=b"a"), ["name: ", "filename: "]),
    "a dataset's name outside": (400, upload("name=../x&filename=x.csv"), ["'../x' cannot name"]),
    "an empty dataset": (400, upload("name=x&filename=x.csv", b""), ["the file is empty"]),
    "a kind without a column": (400, upload("name=x&filename=x.csv&kind=number"), ["COLUMN:KIND"]),
    "a size without end": (400, upload("name=x&filename=x.zip&image_size=99999x99999"), ["WIDTHxHEIGHT", "at most"]),
    "a path that is none": (404, ask("GET", "/api/nothing"), ["no path", "/docs"]),
    "a method that is none": (405, ask("PUT", "/api/jobs"), ["does not take PUT"]),
    "50 MB where none belong": (413, ask("POST", "/api/jobs", content=b"x" * (50 << 20), headers=JSON), ["33,554,432 bytes"]),
}


def problem_of(server: FaultServer, status: int, method: str, path: str, told: list[str], **body: Any) -> dict[str, Any]:
    answer = server.client.request(method, path, **body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem = answer.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= set(problem)
    for piece in told:
        assert piece in problem["detail"], problem["detail"]
    assert not INSIDE.search(answer.text), answer.text
    return problem


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_that_cannot_be_done_says_why(server, what):
    status, (method, path, body), told = REQUESTS[what]
    problem_of(server, status, method, path, told, **body)


def truncated_parquet() -> bytes:
    out = io.BytesIO()
    pl.DataFrame({"a": list(range(1000)), "y": ["p", "q"] * 500}).write_parquet(out)
    return out.getvalue()[:-200]


def zip_with_a_broken_picture() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/1.png", b"\x89PNG\r\n\x1a\nbroken")
        archive.writestr("b/2.png", b"nothing")
    return out.getvalue()


UPLOADS: dict[str, tuple[str, bytes, list[str]]] = {
    "a truncated Parquet file": ("x.parquet", truncated_parquet(), ["'x.parquet' is not a complete Parquet file"]),
    "a broken picture": ("x.zip", zip_with_a_broken_picture(), ["a/1.png"]),
    "a file of another kind": ("x.pdf", b"%PDF-1.4", ["'x.pdf' is of a kind that is not read", "CSV"]),
}


@pytest.mark.parametrize("what", UPLOADS)
def test_a_file_that_cannot_be_read_says_why_and_nothing_is_stored(server, what):
    filename, content, told = UPLOADS[what]
    problem_of(server, 422, "POST", f"/api/datasets?name=broken&filename={filename}", told, content=content)
    assert server.client.get("/api/datasets/broken").status_code == 404


@pytest.mark.parametrize("given", ["9" * 30 + "-" + "9" * 30, "9" * 12 + "-" + "9" * 12, "-1--1", "a-b", "\u00b2-\u00b2"])
def test_events_go_on_from_a_position_that_we_gave_and_from_the_start_after_any_other(server, given):
    job = server.ask("POST", "/api/jobs", json={"kind": "evaluate", "model": "people", "dataset": "people"})["id"]
    server.wait_job(job)
    events = server.client.get(f"/api/jobs/{job}/events", headers={"last-event-id": given.encode()})
    assert events.status_code == 200 and events.text.rstrip().rpartition("event: ")[2].startswith("state")


def test_deploying_the_same_again_changes_nothing(server):
    before = server.ask("GET", "/api/deployments/people")
    again = server.ask("POST", "/api/deployments", json={"name": "people", "model": "people@1"})
    for name in ("routes", "previous", "is_default", "status", "url", "signature"):
        assert again[name] == before[name]
    assert again["status"] == "ready" and again["is_default"]


def test_a_version_that_is_damaged_on_the_disk_is_not_deployed_and_the_rest_serves_on(server):
    digest = server.ask("GET", "/api/models/income@1")["digest"]
    members = server.artifacts.tree(digest)
    for name, status, told in (("model.onnx", 500, "cannot load the graph"), ("golden.json", 500, "cannot be read")):
        path = server.artifacts.path(members[name])
        whole = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(whole[: len(whole) // 2])
        problem_of(server, status, "POST", "/api/deployments", [told], json={"name": "income", "model": "income@1"})
        path.write_bytes(whole)
        assert server.client.get("/api/deployments/income").status_code == 404
    people = {"age": 1, "city": "Bonn", "joined": None, "member": None}
    assert server.client.post("/predict/people", json=people).status_code == 200
    assert server.ask("POST", "/api/deployments", json={"name": "income", "model": "income@1"})["status"] == "ready"
    server.ask("DELETE", "/api/deployments/income")


def test_the_documents_list_every_path_without_a_network(server):
    page = server.client.get("/docs")
    assert page.status_code == 200 and "text/html" in page.headers["content-type"]
    for path in ("/api/datasets", "/api/jobs", "/api/deployments", "/predict/{deployment}", "/v2/models/{deployment}/infer"):
        assert path in page.text
    assert not re.search(r"(src|href)=\"?(https?:)?//|@import|url\(", page.text)


def test_answers_of_a_real_server_are_those_of_the_plane(server, plane, samples):
    rows = samples.signals[:7].tolist()
    over_the_wire = server.client.post("/predict/signals", json={"instances": rows})
    assert over_the_wire.json()["predictions"] == plane.post("/predict/signals", json={"instances": rows}).json()["predictions"]
    assert over_the_wire.headers["modeltap-model"] == "signals@1"
    picture = {"x": np.asarray(samples.digits[0]).tolist()}
    assert server.client.post("/predict/digits", json=picture).json() == plane.post("/predict/digits", json=picture).json()

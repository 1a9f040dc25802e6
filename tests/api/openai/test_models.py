"""GET /v1/models, and how /v1 says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai_errors import KINDS
from talking import error_of
from workshop import Plane

from modeltap.api.openai.problems import openai_problem
from modeltap.errors import BudgetSpent, ModeltapError


def test_models_are_the_deployments_with_openais_fields(talker: Plane) -> None:
    listed = talker.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [one["id"] for one in listed["data"]] == ["tiny", "mute"]
    one = talker.get("/v1/models/tiny").json()
    assert one in listed["data"]
    assert set(one) == {"id", "object", "created", "owned_by"}
    assert isinstance(one["created"], int)
    engines = talker.get("/v1/engines").json()["data"]
    assert [(engine["id"], engine["ready"]) for engine in engines] == [("tiny", True), ("mute", True)]
    assert talker.get("/v1/engines/tiny").json() in engines


def test_a_model_that_is_not_there_is_a_404_that_names_the_nearest(talker: Plane) -> None:
    for answer in (
        talker.get("/v1/models/tini"),
        talker.post("/v1/completions", json={"model": "tini", "prompt": "x"}),
        talker.post("/v1/chat/completions", json={"model": "tini", "messages": [{"role": "user", "content": "x"}]}),
        talker.post("/v1/responses", json={"model": "tini", "input": "x"}),
    ):
        error = error_of(answer, 404)
        assert error["type"] == "invalid_request_error"
        assert error["code"] == "model_not_found"
        assert "'tiny'" in error["message"]


def test_paths_and_methods_that_lead_nowhere_are_told_in_openais_form(talker: Plane) -> None:
    error_of(talker.get("/v1/completions"), 405)
    assert talker.get("/v1/completions").headers["allow"] == "POST"
    error_of(talker.post("/v1/models"), 405)
    error_of(talker.get("/v1/unheard/of"), 404)
    error_of(talker.get("/v1"), 404)


def test_no_key_and_a_wrong_key_are_401(talker: Plane) -> None:
    for headers in ({"authorization": ""}, {"authorization": "Bearer mt-nobody-knows"}):
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("GET", "/v1/engines")):
            more: Any = {"json": {"model": "tiny", "prompt": "x"}} if method == "POST" else {}
            error = error_of(talker.request(method, path, headers=headers, **more), 401)
            assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")


def test_other_protocols_say_where_a_language_model_is_asked(talker: Plane) -> None:
    for path in ("/predict/tiny", "/v2/models/tiny/infer"):
        answer = talker.post(path, json={"instances": [{"text": "x"}]})
        assert answer.status_code == 400
        assert "/v1/completions" in answer.text


@pytest.fixture(params=KINDS, ids=lambda kind: type(kind[0]).__name__)
def kind(request: pytest.FixtureRequest) -> Iterator[tuple[ModeltapError, int, str, str | None]]:
    yield request.param


def test_every_error_has_its_status_type_and_code(kind: tuple[ModeltapError, int, str, str | None]) -> None:
    problem, status, type_, code = kind
    answer = openai_problem(problem)
    error = error_of(httpx.Response(answer.status, content=answer.body), status)
    assert (error["type"], error["code"]) == (type_, code)
    headers = dict(answer.headers)
    if status in (429, 503) and not isinstance(problem, BudgetSpent):
        assert headers[b"retry-after"] == b"2"
        assert headers[b"retry-after-ms"] == b"1500"
    if isinstance(problem, BudgetSpent):
        assert headers == {b"x-should-retry": b"false"}

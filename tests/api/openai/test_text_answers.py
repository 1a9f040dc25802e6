"""/v1/embeddings and /v1/moderations through the openai SDK, which checks every field, and their errors and units."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from talking import error_of
from workshop import KEY, Plane, Workshop

from modeltap.api.openai.moderations import moderated
from modeltap.data.text_reading import read_fitted
from text_models import train_mood, train_vectors

TEXTS = ["the film is lovely", "a dull plot", "the film is lovely"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("answers"))
    train_vectors(made, epochs=1)
    train_mood(made, epochs=8)
    yield made
    made.close()


@pytest.fixture(scope="module")
def plane(workshop: Workshop) -> Iterator[Plane]:
    made = Plane(workshop, {"vectors": "vectors@1", "moderation": "mood@1"})
    yield made
    made.close()


@pytest.fixture(scope="module")
def sdk(plane: Plane) -> Iterator[Any]:
    """The SDK's asynchronous client in strict mode; `plane.run` waits for it."""
    transport = httpx.AsyncClient(transport=httpx.ASGITransport(plane.app))
    client = openai.AsyncOpenAI(
        base_url="http://plane/v1", api_key=KEY, http_client=transport, max_retries=0, _strict_response_validation=True
    )
    yield client
    plane.run(client.close())


def embed(plane: Plane, **body: Any) -> httpx.Response:
    return plane.post("/v1/embeddings", json={"model": "vectors", **body})


def test_the_sdk_gets_vectors_of_texts(plane: Plane, sdk: Any) -> None:
    answer = plane.run(sdk.embeddings.create(model="vectors", input=TEXTS, encoding_format="float"))
    vector_ND = np.array([one.embedding for one in answer.data])
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert (vector_ND[0] == vector_ND[2]).all()
    np.testing.assert_allclose(np.linalg.norm(vector_ND, axis=1), 1, atol=1e-5)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 6


def test_base64_holds_the_same_numbers_as_the_list(plane: Plane) -> None:
    coded = embed(plane, input=TEXTS[0], encoding_format="base64").json()["data"][0]["embedding"]
    listed = embed(plane, input=TEXTS[0]).json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(coded), "<f4").tolist() == listed


def test_ids_are_taken_for_their_text_and_the_answer_does_not_depend_on_the_way(workshop: Workshop, plane: Plane) -> None:
    ids = read_fitted(workshop.files("vectors@1")).open().read(TEXTS)
    answers = [embed(plane, input=given).json() for given in (TEXTS, ids)]
    assert answers[0] == answers[1]
    assert answers[0]["usage"]["prompt_tokens"] == sum(map(len, ids))
    assert embed(plane, input=ids[0]).json()["data"][0] == answers[0]["data"][0]
    rows = plane.post("/predict/vectors", json={"instances": TEXTS}).json()["predictions"]
    assert rows == [one["embedding"] for one in answers[0]["data"]]


def test_fewer_dimensions_are_the_first_ones_at_length_1(plane: Plane) -> None:
    whole = np.array(embed(plane, input=TEXTS[0]).json()["data"][0]["embedding"])
    short = np.array(embed(plane, input=TEXTS[0], dimensions=4).json()["data"][0]["embedding"])
    np.testing.assert_allclose(short, whole[:4] / np.linalg.norm(whole[:4]), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": ""}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": ["a", ""]}, "input[1]", "invalid_value"),
        ({"input": ["a", 3]}, "input[0]", "invalid_value"),
        ({"input": [[1], []]}, "input[1]", "invalid_value"),
        ({"input": [[True]]}, "input[0]", "invalid_value"),
        ({"input": [2, 400_000]}, "input", "invalid_value"),
        ({"input": [-1]}, "input", "invalid_value"),
        ({"input": "a\x00b"}, "input", "invalid_value"),
        ({"input": ["a"] * 2049}, "input", "invalid_value"),
        ({"input": "lovely film " * 100}, "input", "context_length_exceeded"),
        ({"input": "x" * 500_000}, "input", "context_length_exceeded"),
        ({"input": [2] * 33}, "input", "context_length_exceeded"),
        ({"input": "a", "dimensions": 17}, "dimensions", "invalid_value"),
        ({"input": "a", "dimensions": 0}, "dimensions", "invalid_value"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value"),
        ({"input": "a", "colour": 1}, "colour", "invalid_value"),
        ({"input": "a", "model": "moderation"}, "model", "invalid_value"),
    ],
)
def test_what_cannot_be_embedded_is_a_400_that_names_it(plane: Plane, body: dict[str, Any], param: str, code: str) -> None:
    error = error_of(embed(plane, **body), 400)
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


def test_an_unknown_model_is_a_404(plane: Plane) -> None:
    error = error_of(embed(plane, input="a", model="nothing"), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")


def test_the_ledger_has_the_tokens_that_the_answer_tells(workshop: Workshop) -> None:
    plane = Plane(workshop, {"counted": "vectors@1"})
    try:
        tokens = [embed(plane, input=given, model="counted").json()["usage"]["total_tokens"] for given in (TEXTS, "a")]
        rows = plane.post("/predict/counted", json={"instances": TEXTS})
        assert rows.status_code == 200
        embed(plane, input="", model="counted")
        text = plane.run(plane._numbers()).decode()
    finally:
        plane.close()
    counted = [line for line in text.splitlines() if "units_total" in line and 'deployment="counted"' in line]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in counted) == tokens[0] * 2 + tokens[1]


def test_the_sdk_gets_moderations(plane: Plane, sdk: Any) -> None:
    answer = plane.run(sdk.moderations.create(input=["what a lovely film", "a dull, tedious plot"]))
    assert answer.id.startswith("modr-")
    assert answer.model == "mood@1"
    assert len(answer.results) == 2
    raw = plane.post("/v1/moderations", json={"input": "a dull, tedious plot", "model": "omni-moderation-latest"}).json()
    (result,) = raw["results"]
    assert result["categories"]["bad"] is True
    assert result["category_scores"]["bad"] > 0.5
    assert result["category_applied_input_types"]["bad"] == ["text"]
    assert result["category_applied_input_types"]["hate"] == []
    parts = plane.post("/v1/moderations", json={"input": [{"type": "text", "text": "dull"}], "model": "moderation"})
    assert parts.status_code == 200


def test_what_cannot_be_moderated_is_named(plane: Plane) -> None:
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    for given, param in ((image, "input[0]"), ([], "input"), (3, "input"), ("a\x00", "input"), (["a"] * 1025, "input")):
        assert error_of(plane.post("/v1/moderations", json={"input": given}), 400)["param"] == param
    assert error_of(plane.post("/v1/moderations", json={"input": "a", "model": "nothing"}), 404)["code"] == "model_not_found"
    assert error_of(plane.post("/v1/moderations", json={"input": "a", "model": "vectors"}), 400)["param"] == "model"


@pytest.mark.parametrize(
    ("scores", "flagged", "true"),
    [
        ({"ok": 0.6, "hate": 0.4}, False, set()),
        ({"OK": 0.4, "hate": 0.35, "spam": 0.25}, True, {"hate"}),
        ({"Not Toxic": 0.1, "toxic": 0.9}, True, {"toxic"}),
        ({"0": 0.2, "1": 0.8}, True, {"1"}),
        ({"positive": 0.7, "negative": 0.3}, True, {"positive"}),
    ],
)
def test_a_text_is_flagged_where_what_was_found_is_likelier_than_nothing(
    scores: dict[str, float], flagged: bool, true: set[str]
) -> None:
    result = moderated(scores)
    assert result["flagged"] is flagged
    assert {name for name, is_true in result["categories"].items() if is_true} == true
    assert set(result["categories"]) == set(result["category_scores"]) == set(result["category_applied_input_types"])

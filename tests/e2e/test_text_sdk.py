"""Vectors and moderations of a real server through the stock openai SDK, under keys, limits and the meter."""

from __future__ import annotations

from typing import Any

import numpy as np
import openai
import pytest
from fault_server import FaultServer, until

from openai_home import client_of, ended_batch, jsonl, lines_in

TEXTS = ["the film is lovely", "a dull plot"]


@pytest.fixture(scope="module")
def server(texts_served: FaultServer) -> FaultServer:
    return texts_served


def client(server: FaultServer, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.client.base_url}/v1", api_key=key, max_retries=0)


def units(server: FaultServer, key: str) -> int:
    groups = server.ask("GET", "/api/usage", params={"by": "key"})["sums"]
    return sum(group["units"] for group in groups if group["key"] == key)


def test_vectors_are_counted_to_the_token_and_limited_by_the_key(server: FaultServer) -> None:
    made = server.ask("POST", "/api/keys", json={"scopes": ["predict"], "limits": {"upm": 60}})
    with client(server, made["key"]) as sdk:
        first = sdk.embeddings.create(model="vectors", input=TEXTS)
        again = sdk.embeddings.create(model="vectors", input=TEXTS, encoding_format="float")
        np.testing.assert_array_equal([one.embedding for one in first.data], [one.embedding for one in again.data])
        told = first.usage.total_tokens + again.usage.total_tokens
        with pytest.raises(openai.RateLimitError) as refused:
            sdk.embeddings.create(model="vectors", input=TEXTS * 10)
        assert refused.value.code == "rate_limit_exceeded"
        with pytest.raises(openai.NotFoundError):
            sdk.embeddings.create(model="nothing", input="a")
    until("the usage is in the database", lambda: units(server, made["id"]) == told)
    with client(server, "mt-wrong") as sdk, pytest.raises(openai.AuthenticationError):
        sdk.embeddings.create(model="vectors", input="a")


def test_moderations_come_from_the_deployment_of_that_name(server: FaultServer) -> None:
    with client(server, (server.home / "admin.key").read_text().strip()) as sdk:
        good, bad = sdk.moderations.create(input=["a lovely, warm film", "a dull, tedious plot"]).results
    assert bad.to_dict()["categories"]["bad"] is True  # type: ignore[index]
    assert good.to_dict()["category_scores"]["good"] > 0.5  # type: ignore[index]


def test_vectors_and_moderations_come_in_batches_as_alone(server: FaultServer) -> None:
    """Both are of one server, at one price; what a batch uses is in the books."""
    sdk = client_of(server)
    asked: Any = {
        "/v1/embeddings": [{"model": "vectors", "input": "a film"}, {"model": "vectors", "input": ["a plot", "a cast"]}],
        "/v1/moderations": [{"model": "moderation", "input": "a lovely film"}, {"input": ["a dull plot"]}],
    }
    for endpoint, bodies in asked.items():
        wrong = {"model": "nobody", "input": "a"}
        lines = [
            {"custom_id": str(number), "method": "POST", "url": endpoint, "body": body}
            for number, body in enumerate([*bodies, wrong])
        ]
        file = sdk.files.create(file=("requests.jsonl", jsonl(lines)), purpose="batch")
        batch = ended_batch(sdk, sdk.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h").id)
        assert (batch.status, dict(batch.request_counts)) == ("completed", {"total": 3, "completed": 2, "failed": 1})
        good = lines_in(sdk.files.content(batch.output_file_id).read())
        alone = [server.ask("POST", endpoint, json=body) for body in bodies]
        for line, answer in zip(good, alone, strict=True):
            found = line["response"]["body"]
            assert line["response"]["status_code"] == 200
            assert found.get("data", found.get("results")) == answer.get("data", answer.get("results"))
        (bad,) = lines_in(sdk.files.content(batch.error_file_id).read())
        assert (bad["custom_id"], bad["response"]["body"]["error"]["code"]) == ("2", "model_not_found")
        told = sum(answer["usage"]["total_tokens"] for answer in alone if "usage" in answer)
        assert batch.usage.input_tokens == told

"""Vectors and moderations of a real server through the stock openai SDK, under keys, limits and the meter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from fault_server import FaultServer, serving, until
from workshop import Workshop

from text_models import train_mood, train_vectors

TEXTS = ["the film is lovely", "a dull plot"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    home: Path = tmp_path_factory.mktemp("texts") / "home"
    home.mkdir()
    workshop = Workshop(home)
    train_vectors(workshop, epochs=1)
    train_mood(workshop, epochs=6)
    workshop.close()
    with serving(home) as started:
        for name, model in (("vectors", "vectors@1"), ("moderation", "mood@1")):
            started.ask("POST", "/api/deployments", json={"name": name, "model": model})
        yield started


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

"""Texts are added, a language model is trained on them, and then trained on: by the steps of the real runner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from workshop import Workshop

from modeltap.bundle.files import open_bundle
from modeltap.data.tokenizer import open_tokenizer
from modeltap.errors import InvalidData, InvalidRecipe, NotFound

WORDS = ("the quick brown fox", "jumps over", "a lazy dog", "and sleeps", "under the old tree")
PLAY = "".join(f"{WORDS[n % 5]} {WORDS[(n * n) % 5]}.\n" for n in range(800))
SMALL: dict[str, Any] = {
    "model": {"architecture": "gpt", "layers": 1, "width": 32, "heads": 2, "context": 32, "vocabulary": "bytes"},
    "steps": 40,
    "batch_size": 8,
    "optimizer": {"lr": 0.01},
}
TALKS = "".join(
    json.dumps(
        {
            "messages": [
                {"role": "system", "content": "Count."},
                {"role": "user", "content": f"After {n}?"},
                {"role": "assistant", "content": f"{n + 1}"},
            ]
        }
    )
    + "\n"
    for n in range(24)
)
PAIRS = "".join(json.dumps({"prompt": f"After {n} comes", "completion": f" {n + 1}."}) + "\n" for n in range(24))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path_factory.mktemp("home"))
    workshop.add("play", PLAY, "play.txt")
    workshop.add("talks", TALKS, "talks.jsonl")
    workshop.add("pairs", PAIRS, "pairs.jsonl")
    yield workshop
    workshop.close()


@pytest.fixture(scope="module")
def writer(shop: Workshop) -> dict[str, Any]:
    return shop.train("play", "text-generation", SMALL, name="writer")


def test_a_model_is_trained_and_its_bundle_is_whole(shop: Workshop, writer: dict[str, Any]) -> None:
    assert writer["version"] == "writer@1"
    assert writer["metrics"]["val"]["loss"] < 2.5
    assert writer["metrics"]["val"]["bits_per_byte"] == pytest.approx(writer["metrics"]["val"]["loss"] / 0.6931, rel=0.01)
    files = shop.files("writer@1")
    assert {
        *("manifest.json", "golden.json", "card.md", "recipe.yaml"),
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"),
        *("openvino_model.xml", "openvino_model.bin", "openvino_tokenizer.xml", "openvino_detokenizer.xml"),
    } <= set(files)
    bundle = open_bundle(files)
    language = bundle.manifest.language
    assert language is not None
    assert (language.family, language.context_tokens, language.weights) == ("llama", 32, "float32")
    assert bundle.manifest.engine.name == "openvino-genai"
    assert any(prompt.answer for prompt in bundle.golden.prompts)
    assert not open_tokenizer(files).has_chat_template


def test_training_again_gives_the_same_digest(shop: Workshop, writer: dict[str, Any]) -> None:
    again = shop.train("play", "text-generation", SMALL, name="writer")
    assert again["digest"] == writer["digest"]


def test_the_report_shows_what_the_model_writes(shop: Workshop, writer: dict[str, Any]) -> None:
    extras = shop.models.extras(shop.models.get("writer@1"))
    page = shop.artifacts.path(extras["report"]).read_text()
    assert "Samples" in page and "Bits per byte" in page
    assert extras["evaluation"]["written"]
    assert [entry["epoch"] for entry in extras["history"]] == list(range(1, 11))


@pytest.mark.parametrize("architecture", ["full", "lora"])
def test_a_version_is_trained_on(shop: Workshop, writer: dict[str, Any], architecture: str) -> None:
    recipe = {
        "model": {"architecture": architecture, "base": "writer@1", "context": 64 if architecture == "full" else 32},
        "optimizer": {"lr": 0.01},
        "epochs": 2,
    }
    if architecture == "full":
        with pytest.raises(InvalidRecipe, match="the base takes at most 32"):
            shop.train("talks", "text-generation", recipe, name="counter")
        recipe["model"]["context"] = None
    before = open_bundle(shop.files("writer@1"))
    data = "talks" if architecture == "full" else "pairs"
    trained = shop.train(data, "text-generation", recipe, name=f"counter-{architecture}")
    bundle = open_bundle(shop.files(trained["version"]))
    assert bundle.manifest.lineage.parent == "writer@1"
    assert bundle.files["tokenizer.json"].read_bytes() == before.files["tokenizer.json"].read_bytes()
    assert bundle.files["model.safetensors"].read_bytes() != before.files["model.safetensors"].read_bytes()
    assert set(bundle.files) >= set(before.files)
    assert open_tokenizer(bundle.files).has_chat_template == (data == "talks")


def test_answers_in_talks_are_learned(shop: Workshop) -> None:
    model = {**SMALL["model"], "context": 128}
    trained = shop.train("talks", "text-generation", {**SMALL, "model": model, "epochs": 30, "steps": None}, name="counter")
    tokenizer = open_tokenizer(shop.files(trained["version"]))
    assert tokenizer.has_chat_template and tokenizer.takes_tools
    assert trained["metrics"]["val"]["loss"] < 3.0


def test_what_cannot_be_trained_on_is_told(shop: Workshop, writer: dict[str, Any]) -> None:
    shop.add("rows", "a,b\n1,2\n3,4\n")
    with pytest.raises(InvalidData, match="text-generation takes texts"):
        shop.train("rows", "text-generation", SMALL)
    with pytest.raises(NotFound, match="no model 'nobody'"):
        shop.train("play", "text-generation", {"model": {"architecture": "lora", "base": "nobody"}})
    with pytest.raises(InvalidRecipe, match="multiple of twice the heads"):
        shop.train("play", "text-generation", {**SMALL, "model": {**SMALL["model"], "heads": 3}})
    with pytest.raises(InvalidRecipe, match="steps is for language models"):
        shop.train("rows", "tabular-regression", {"steps": 5, "model": "linear", "data": {"target": "b"}})


def test_a_talk_that_is_none_is_refused_with_its_row(shop: Workshop) -> None:
    for broken, told in (
        ('{"messages": []}', "row 1"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "assistant"),
        ('{"messages": [{"role": "user", "content": 5}, {"role": "assistant", "content": "x"}]}', "message 1"),
    ):
        with pytest.raises(InvalidData, match=told):
            shop.add("broken", f"{broken}\n", "talks.jsonl")
    with pytest.raises(InvalidData, match="row 2"):
        shop.add("broken", '{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n', "pairs.jsonl")


def test_a_version_is_evaluated_as_its_training_measured_it(shop: Workshop, writer: dict[str, Any]) -> None:
    own = shop.evaluate("writer@1", "play")
    assert (own["part"], own["report"]) == ("val", True)
    for name in ("loss", "perplexity", "bits_per_byte"):
        assert own["metrics"][name] == pytest.approx(writer["metrics"]["val"][name], rel=1e-4)
    assert own["evaluation"]["written"] and own["metrics"]["loss_interval"]
    assert shop.evaluate("writer@1", "play", part="all")["evaluation"]["num_rows"] > own["evaluation"]["num_rows"]
    answers = shop.evaluate("writer@1", "pairs")
    assert answers["part"] == "rows" and answers["metrics"]["loss"] > own["metrics"]["loss"]
    with pytest.raises(InvalidData, match="leaves no text for its test part"):
        shop.evaluate("writer@1", "play", part="test")


def test_a_version_without_weights_is_evaluated_by_what_serves_it(shop: Workshop, writer: dict[str, Any]) -> None:
    version = shop.models.get("writer@1")
    served = {name: path for name, path in shop.files("writer@1").items() if not name.endswith(".safetensors")}
    shop.models.add("served", shop.artifacts.put_tree(served), version.manifest, None, datetime.now(UTC))
    for data, part in (("play", "val"), ("pairs", "all")):
        asked, expected = (shop.evaluate(f"{name}@1", data, part=part)["metrics"] for name in ("served", "writer"))
        assert asked["loss"] == pytest.approx(expected["loss"], rel=0.05)  # pieces end elsewhere: one token more must fit
        assert asked["bits_per_byte"] == pytest.approx(expected["bits_per_byte"], rel=0.05)

"""Texts → classes: every architecture learns, answers raw text, and goes through the same bundle and report as a table."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import ROOT
from searches import submit, tunings
from workshop import Plane, Workshop

from modeltap.bundle.files import open_bundle
from modeltap.control.compressions import Compressions
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.engines.select import open_warm_engine
from modeltap.errors import CannotCompress, InvalidData, InvalidRecipe, NotFound
from modeltap.runner import compress_speed
from modeltap.storage.datasets import DatasetRepository
from text_models import TINY, TINY_ENCODER, mood_lines, moods, train_mood, train_vectors

SST2 = ROOT.parent / "shared" / "data" / "sst2"
SETTINGS: dict[str, dict[str, Any]] = {
    "ngram-linear": {"epochs": 10},
    "lstm": {**TINY, "model.units": 16, "epochs": 6, "optimizer.lr": 0.01},
    "encoder": {**TINY_ENCODER, "epochs": 12, "optimizer.lr": 0.01},
}
AWKWARD = ["", " ", "Great!!", "x" * 5000, "今日は", "[CLS] [PAD] </s>", "a\tb\nc", "😀 lovely"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("texts"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def trained(workshop: Workshop) -> dict[str, dict[str, Any]]:
    return {name: train_mood(workshop, name, name, **settings) for name, settings in SETTINGS.items()}


@pytest.mark.parametrize("architecture", SETTINGS)
def test_every_architecture_learns_the_mood(trained: dict[str, dict[str, Any]], architecture: str) -> None:
    assert trained[architecture]["metrics"]["test"]["accuracy"] > 0.9
    assert "accuracy_interval" in trained[architecture]["metrics"]["test"]


@pytest.mark.parametrize("architecture", SETTINGS)
def test_a_text_gets_the_same_bits_alone_and_among_others(
    workshop: Workshop, trained: dict[str, dict[str, Any]], architecture: str
) -> None:
    engine = open_warm_engine(open_bundle(workshop.files(trained[architecture]["version"])))
    texts = np.array(AWKWARD + [text for text, _ in moods(40, seed=9)], dtype=object)
    together = engine.run({"text": texts})["prediction"]
    alone = np.concatenate([engine.run({"text": texts[row : row + 1]})["prediction"] for row in range(len(texts))])
    shuffled = np.random.default_rng(0).permutation(len(texts))
    assert together.tobytes() == alone.tobytes()
    assert engine.run({"text": texts[shuffled]})["prediction"].tobytes() == together[shuffled].tobytes()


def test_the_same_training_gives_the_same_bundle(workshop: Workshop, trained: dict[str, dict[str, Any]]) -> None:
    for name in ("ngram-linear", "encoder"):
        again = workshop.train(
            f"{name}-texts", "text-classification", name=name, settings={"model.architecture": name, **SETTINGS[name]}
        )
        assert again["digest"] == trained[name]["digest"]


def test_raw_text_is_answered_in_every_form(workshop: Workshop, trained: dict[str, dict[str, Any]]) -> None:
    plane = Plane(workshop, {"mood": trained["ngram-linear"]["version"], "deep": trained["lstm"]["version"]})
    try:
        text = "what a lovely, moving story"
        answer = plane.post("/predict/mood", json={"instances": [text, {"text": "tedious"}]}).json()["predictions"]
        assert [one["label"] for one in answer] == ["good", "bad"]
        assert set(answer[0]) == {"label", "score", "scores"}
        assert answer[0]["score"] == answer[0]["scores"]["good"]
        bare = plane.post("/predict/mood", json={"text": text}).json()["prediction"]
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        inferred = plane.post("/v2/models/mood/infer", json={"inputs": [tensor]}).json()["outputs"]
        csv = plane.post("/predict/mood", content=f'text\n"{text}"\n', headers={"content-type": "text/csv"}).json()
        assert bare == answer[0] == csv["predictions"][0]
        assert next(one["data"] for one in inferred if one["name"] == "prediction") == list(answer[0]["scores"].values())
        awkward = plane.post("/predict/deep", json={"instances": AWKWARD}).json()["predictions"]
        assert len(awkward) == len(AWKWARD)
        refused = plane.post("/predict/deep", json={"instances": ["\x001 2 3"]})
        assert refused.status_code == 422
        assert "NUL" in refused.text
    finally:
        plane.close()


def test_a_version_is_evaluated_on_other_texts(workshop: Workshop, trained: dict[str, dict[str, Any]]) -> None:
    workshop.add("fresh", mood_lines(60, seed=5), "fresh.jsonl", target="mood")
    assert workshop.evaluate(trained["encoder"]["version"], "fresh")["metrics"]["accuracy"] > 0.85


def test_an_encoder_is_trained_on_from_another_version(workshop: Workshop) -> None:
    train_vectors(workshop, "base", epochs=1)
    settings = {"model.base": "base@1", "epochs": 12, "batch_size": 16, "optimizer.lr": 0.01}
    result = train_mood(workshop, "tuned", "pretrained-encoder", **settings)
    assert result["metrics"]["test"]["accuracy"] > 0.9
    files = workshop.files(result["version"])
    assert files["tokenizer.json"].read_bytes() == workshop.files("base@1")["tokenizer.json"].read_bytes()
    with pytest.raises(InvalidRecipe, match="has no encoder"):
        train_mood(workshop, "wrong", "pretrained-encoder", **{"model.base": "ngram-linear@1"})
    with pytest.raises(NotFound):
        train_mood(workshop, "absent", "pretrained-encoder", **{"model.base": "nothing@1"})


def test_a_table_with_one_text_among_other_columns_is_read(workshop: Workshop) -> None:
    rows = [{"day": day % 7, "review": text, "mood": label} for day, (text, label) in enumerate(moods(120))]
    workshop.add("reviews", "\n".join(map(json.dumps, rows)), "reviews.jsonl", target="mood")
    result = workshop.train("reviews", "text-classification")
    schema = open_bundle(workshop.files(result["version"])).manifest.schema
    assert [column.name for column in schema.features] == ["review"]


def test_what_cannot_be_read_is_named(workshop: Workshop) -> None:
    two = "\n".join(json.dumps({"a": text, "b": f"{text} too", "mood": label}) for text, label in moods(60))
    workshop.add("two", two, "two.jsonl", target="mood")
    with pytest.raises(InvalidRecipe, match="2 columns of texts: a, b"):
        workshop.train("two", "text-classification")
    workshop.add("numbers", "x,y\n" + "\n".join(f"{n},{'ab'[n % 2]}" for n in range(40)), target="y")
    with pytest.raises(InvalidData, match="no column of texts"):
        workshop.train("numbers", "text-classification")
    with pytest.raises(InvalidRecipe, match="reads no texts"):
        workshop.train("two", "text-classification", settings={"model.architecture": "mlp"})


@pytest.fixture
def compress(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.setattr(compress_speed, "TURNS", 3)
    monkeypatch.setattr(compress_speed, "TURN_S", 0.01)
    datasets = DatasetRepository(workshop.database, DEFAULT_TENANT)
    compressions = Compressions(datasets, workshop.models, workshop.artifacts, workshop.jobs, lambda: None)
    return lambda ref, **wishes: workshop._do(compressions.start(ref, max_drop="50pp", **wishes))


@pytest.mark.parametrize("architecture", SETTINGS)
def test_texts_are_read_in_eight_bits(
    workshop: Workshop, trained: dict[str, dict[str, Any]], compress: Any, architecture: str
) -> None:
    result = compress(trained[architecture]["version"], weights="int8")
    assert (result["version"], result["state"]) == (f"{architecture}-int8@1", "candidate")
    certificate = workshop.models.get(result["version"]).manifest.certificate
    assert certificate is not None
    assert certificate.method == "int8 (dynamic)"
    assert certificate.child_bytes < certificate.parent_bytes
    assert _told(workshop, result["version"]) == ["good", "bad"]


def test_a_transformer_teaches_a_model_of_words(workshop: Workshop, trained: dict[str, dict[str, Any]], compress: Any) -> None:
    student = {"model": {"architecture": "ngram-linear"}, "epochs": 6}
    result = compress(trained["encoder"]["version"], distil=student)
    assert (result["version"], result["state"]) == ("encoder-distilled@1", "candidate")
    assert result["metrics"]["test"]["accuracy"] > 0.9
    files = workshop.files(result["version"])
    assert "text.json" in files
    assert "tokenizer.json" not in files
    assert _told(workshop, result["version"]) == ["good", "bad"]


def test_what_makes_no_model_of_texts_smaller_says_what_does(trained: dict[str, dict[str, Any]], compress: Any) -> None:
    version = trained["encoder"]["version"]
    for wishes in ({}, {"unstructured": True}):
        with pytest.raises(CannotCompress, match=r"--int8, or --distil recipe\.yaml"):
            compress(version, prune=0.5, **wishes)
    with pytest.raises(InvalidRecipe, match="for text-classification there are: encoder, lstm, ngram-linear"):
        compress(version, distil={"model": "mlp"})


def test_the_best_of_a_search_over_texts_reads_them_as_its_trial_did(workshop: Workshop, trained: dict[str, Any]) -> None:
    """Trials that read texts otherwise learn from ids of their own."""
    space = {"model.words": [1, 2]}
    recipe = {
        "task": "text-classification",
        "model": "ngram-linear",
        "epochs": 3,
        "search": {"space": space, "sampler": "grid", "metric": "log_loss"},
    }
    search = submit(workshop, "ngram-linear-texts", recipe, trials=2, name="found")
    result = search.run()
    assert result["trials"]["complete"] == 2
    version = workshop.models.get(result["version"])
    searched = version.manifest.lineage.searched
    assert searched is not None
    assert searched.value == min(trial.value for trial in tunings(workshop).trials(search.job.id) if trial.value is not None)
    assert searched.value == pytest.approx(version.manifest.metrics["val"]["log_loss"], rel=1e-5)
    assert _told(workshop, result["version"]) == ["good", "bad"]


def _told(workshop: Workshop, version: str) -> list[str]:
    plane = Plane(workshop, {"mood": version})
    try:
        answer = plane.post("/predict/mood", json={"instances": ["what a lovely, moving story", {"text": "tedious"}]})
        return [one["label"] for one in answer.json()["predictions"]]
    finally:
        plane.close()


@pytest.mark.skipif(not SST2.is_dir(), reason="the data set lies beside the project only where it is developed")
def test_sentiment_reaches_80_percent_without_pretraining(workshop: Workshop, tmp_path: Path) -> None:
    packed = tmp_path / "sst2.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for part in ("train", "dev", "test"):
            archive.write(SST2 / f"{part}.tsv", f"{part}.tsv")
    workshop.add("sst2", packed.read_bytes(), "sst2.zip")
    assert workshop.train("sst2", "text-classification")["metrics"]["test"]["accuracy"] >= 0.8

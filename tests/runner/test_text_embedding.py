"""Texts → vectors: learned from pairs and from texts alone, and given by the served graph."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from workshop import Workshop

from modeltap.bundle.files import open_bundle
from modeltap.data.subwords import id_rows
from modeltap.data.text_reading import read_fitted
from modeltap.engines.select import open_warm_engine
from modeltap.errors import InvalidInput
from text_models import TINY_ENCODER, pair_lines, train_vectors


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("vectors"))
    yield made
    made.close()


def test_an_answer_is_found_by_its_question(workshop: Workshop) -> None:
    workshop.add("pairs", pair_lines(), "pairs.jsonl")
    settings = {**TINY_ENCODER, "model.vocabulary": 600, "epochs": 12, "optimizer.lr": 0.005}
    result = workshop.train("pairs", "text-embedding", settings=settings)
    assert result["metrics"]["test"]["pair_accuracy"] > 0.5  # by chance 1 in 20
    assert set(result["metrics"]) == {"val", "test"}


def test_vectors_have_length_1_and_ids_give_what_their_text_gives(workshop: Workshop) -> None:
    result = train_vectors(workshop, epochs=1)
    files = workshop.files(result["version"])
    bundle = open_bundle(files)
    engine = open_warm_engine(bundle)
    texts = np.array(["the film is lovely", "", "a very long one " * 40], dtype=object)
    vector_ND = np.asarray(engine.run({"text": texts})["embedding"], dtype=np.float64)
    assert vector_ND.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(vector_ND, axis=1), 1, atol=1e-5)
    ids = read_fitted(files).open().read(texts.tolist())
    assert max(map(len, ids)) == 32
    assert engine.run({"text": id_rows(ids)})["embedding"].tobytes() == engine.run({"text": texts})["embedding"].tobytes()


def test_the_same_training_gives_the_same_bundle(workshop: Workshop) -> None:
    first = train_vectors(workshop, "again", epochs=1)
    again = workshop.train("again-texts", "text-embedding", name="again", settings={**TINY_ENCODER, "epochs": 1})
    assert again["digest"] == first["digest"]


def test_vectors_are_evaluated_as_their_training_measured_them_and_on_other_texts(workshop: Workshop) -> None:
    trained = train_vectors(workshop, "judged", epochs=1)
    told = workshop.evaluate("judged@1", "judged-texts")
    assert (told["part"], told["report"]) == ("test", False)
    assert told["metrics"]["pair_accuracy"] == trained["metrics"]["test"]["pair_accuracy"]
    assert workshop.evaluate("judged@1", "judged-texts", part="val")["metrics"]["num_texts"] < 160
    assert workshop.evaluate("judged@1", "judged-texts", part="all")["metrics"]["num_texts"] == 160
    workshop.add("asked", pair_lines(20), "pairs.jsonl")
    told = workshop.evaluate("judged@1", "asked")
    assert (told["part"], told["metrics"]["num_texts"]) == ("rows", 20) and 0 <= told["metrics"]["pair_accuracy"] <= 1
    with pytest.raises(InvalidInput, match="slices is for rows with a target"):
        workshop.evaluate("judged@1", "judged-texts", slices=["text"])

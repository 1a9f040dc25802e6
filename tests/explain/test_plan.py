"""A plan says before anything runs how many rows it takes, keeps to it, and refuses what does not fit the model."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest
from games import Counted
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltap.domain.dataset import Column, Schema
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import Batch, Signature, TensorSpec
from modeltap.errors import InvalidInput
from modeltap.explain.page import explanations_page
from modeltap.explain.plan import METHODS, Wish, form_of, plan_explanation
from modeltap.explain.steps import drive

LABELS = ("no", "yes", "perhaps")
COLUMNS = (
    Column(name="age", kind="number"),
    Column(name="city", kind="category"),
    Column(name="member", kind="boolean"),
    Column(name="joined", kind="datetime"),
    Column(name="signal", kind="array", shape=(5,)),
)


def manifest(columns: Any, *, task: str, labels: tuple[str, ...] = LABELS, **more: Any) -> Manifest:
    return Manifest(
        task=task,
        architecture="linear",
        signature=Signature((), (TensorSpec("y", "FP32", (-1, len(labels)) if labels else (-1,)),)),
        engine=EngineChoice(),
        schema=Schema(form="table", columns=tuple(columns)),
        output="y",
        labels=labels,
        lineage=Lineage(code_version="0"),
        **more,
    )


PIXELS = Column(name="x", kind="image", shape=(8, 8))
VECTOR = msgspec.structs.replace(
    manifest(COLUMNS, task="tabular-regression", labels=()), signature=Signature((), (TensorSpec("y", "FP32", (-1, 4)),))
)
TABLE = manifest(COLUMNS, task="tabular-classification")
NUMBER = manifest(COLUMNS, task="tabular-regression", labels=())
PICTURE = manifest([Column(name="x", kind="image", shape=(8, 9))], task="image-classification")
TEXT = manifest([Column(name="text", kind="text")], task="text-classification")


def people(count: int) -> Batch:
    chance = np.random.default_rng(0)
    return {
        "age": np.where(np.arange(count) % 5 == 4, np.nan, chance.normal(size=count)),
        "city": np.array(["Bonn", "Ulm", ""] * count, dtype=object)[:count],
        "member": (np.arange(count) % 2).astype(float),
        "joined": np.arange(count) * 86_400.0,
        "signal": chance.normal(size=(count, 5)).astype(np.float32),
    }


def scored(values: Any) -> Any:
    odds = np.stack([values, 0.5 - values, np.full(len(values), 0.1)], axis=1)
    return np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)


def of_people(batch: Batch) -> Any:
    given: Any = batch
    age = np.nan_to_num(given["age"], nan=0.3)
    return age + 0.5 * (given["city"] == "Ulm") + given["member"] * given["signal"].sum(axis=1)


def ask(model: Manifest, row: Batch, *, others: Batch | None = None, answers: Any = of_people, **wish: Any) -> Any:
    run = Counted(lambda batch: {"y": scored(answers(batch)) if model.labels else answers(batch)})
    plan = plan_explanation(model, row, others, Wish(**wish))
    told = drive(plan.steps, run)
    assert plan.rows == run.rows == told.rows
    assert run.rows <= (wish.get("rows") or 2_000)
    msgspec.json.encode(told)
    return told


ONE = {name: values[3:4] for name, values in people(8).items()}


@given(rows=st.integers(250, 4_000), backgrounds=st.integers(1, 70), seed=st.integers(0, 9))
@settings(max_examples=15)
def test_a_table_is_explained_with_the_rows_that_were_planned_and_adds_up(rows, backgrounds, seed):
    told = ask(TABLE, ONE, others=people(backgrounds), rows=rows, seed=seed)
    assert told.fidelity.additivity_gap < 1e-9
    assert sum(one.shapley for one in told.values) + told.base == pytest.approx(told.answer)
    assert told.backgrounds <= backgrounds


def test_a_tables_row_is_shown_as_it_could_be_sent():
    told = ask(TABLE, ONE, others=people(20))
    cells = {one.column: one.value for one in told.values}
    assert cells["city"] == "Bonn" and cells["member"] is True and cells["joined"] == "1970-01-04"
    assert {f"signal[{place}]" for place in range(5)} < set(cells)
    missing = {name: values[4:5] for name, values in people(8).items()}
    assert {one.column: one.value for one in ask(TABLE, missing, others=people(20)).values}["age"] is None
    sizes = [abs(one.shapley) for one in told.values]
    assert sizes == sorted(sizes, reverse=True)


def test_the_predicted_class_is_explained_or_the_one_that_is_named():
    told = ask(TABLE, ONE, others=people(20))
    assert told.label == told.prediction["label"]
    other = ask(TABLE, ONE, others=people(20), label="perhaps")
    assert other.label == "perhaps"
    assert other.answer == other.prediction["scores"]["perhaps"]
    assert msgspec.to_builtins(other)["class"] == "perhaps"


def test_a_number_is_explained_without_a_class():
    told = ask(NUMBER, ONE, others=people(20))
    assert told.label is None
    assert told.answer == told.prediction
    assert told.fidelity.deletion_auc < told.fidelity.random_auc < told.fidelity.insertion_auc


@pytest.mark.parametrize("method", METHODS["picture"])
@pytest.mark.parametrize("rows", [220, 333, 1500])
def test_a_picture_is_explained_with_the_rows_that_were_planned(method, rows):
    pixels = np.random.default_rng(1).integers(0, 256, size=(1, 8, 9)).astype(np.uint8)

    def bright(batch: Batch) -> Any:
        return batch["x"].astype(float)[:, 2:4, 2:4].mean(axis=(1, 2)) / 100

    told = ask(PICTURE, {"x": pixels}, answers=bright, method=method, rows=rows)
    assert np.array(told.heat).shape == (8, 9)
    assert told.png


@pytest.mark.parametrize("method", METHODS["text"])
@pytest.mark.parametrize("num_words", [1, 2, 7, 40, 500])
def test_a_text_is_explained_with_the_rows_that_were_planned(method, num_words):
    text = " ".join(["word", "good", "bad"] * num_words).split(" ")[:num_words]

    def moods(batch: Batch) -> Any:
        return np.array([(one.count("good") - one.count("bad")) / num_words for one in batch["text"].tolist()])

    row = {"text": np.array([" ".join(text)], dtype=object)}
    told = ask(TEXT, row, answers=moods, method=method, rows=200, label="no")
    assert "".join(one.text for one in told.words).replace(" ", "") == "".join(text)
    if num_words == 7:
        found = {one.text: one.score for one in told.words}
        assert found["good"] > 0 > found["bad"]
        assert abs(found["word"]) < found["good"] / 5


def test_every_explanation_has_a_page_that_refers_to_nothing_outside():
    rows = {"text": np.array(['a <script src="http://x">good</script> one'], dtype=object)}
    told = [
        ask(TABLE, ONE, others=people(20)),
        ask(NUMBER, ONE, others=people(20)),
        ask(PICTURE, {"x": np.arange(72, dtype=np.uint8).reshape(1, 8, 9)}, answers=lambda b: b["x"].mean(axis=(1, 2)) / 99),
        ask(TEXT, rows, answers=lambda b: np.array([one.count("good") for one in b["text"]]) * 1.0),
    ]
    answer = {"explanations": msgspec.to_builtins(told), "model": "a<b@1", "rows": 4}
    page = explanations_page(answer, deployment="the <one>")
    assert page.count('<section class="card">') == 4
    assert "<script" not in page and "a&lt;b@1" in page
    assert not re.findall(r'(?:src|href|url)\s*[=(](?!"data:)', page)
    assert page == explanations_page(answer, deployment="the <one>")


@pytest.mark.parametrize(
    ("model", "wish", "told"),
    [
        (TABLE, {"method": "rise"}, "a table's row is explained by: shapley"),
        (PICTURE, {"method": "shapley"}, "a picture is explained by: occlusion, rise"),
        (TEXT, {"method": "gradients"}, "a text is explained by: occlusion, shapley"),
        (TABLE, {"label": "yess"}, "no class 'yess'; did you mean 'yes'"),
        (NUMBER, {"label": "yes"}, "answers with a number; leave it out"),
        (TABLE, {"rows": 20}, "explaining 9 columns takes at least"),
        (PICTURE, {"rows": 20}, "a picture by occlusion takes at least"),
        (PICTURE, {"rows": 20, "method": "rise"}, "a picture by rise takes at least"),
        (TEXT, {"rows": 20}, "a text takes at least"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_is_allowed(model, wish, told):
    row: Batch = {"x": np.zeros((1, 8, 9), dtype=np.uint8), "text": np.array(["a b"], dtype=object), **ONE}
    with pytest.raises(InvalidInput, match=told):
        plan_explanation(model, row, people(20), Wish(**wish))


def test_the_least_rows_that_the_refusal_names_are_enough():
    for model, row, others in (
        (TABLE, ONE, people(20)),
        (PICTURE, {"x": np.zeros((1, 8, 9), dtype=np.uint8)}, None),
        (TEXT, {"text": np.array(["a b c d e f g h i j k l m n o p q r s"], dtype=object)}, None),
    ):
        for method in METHODS[form_of(model)]:
            with pytest.raises(InvalidInput) as refused:
                plan_explanation(model, row, others, Wish(method=method, rows=1))
            least = int(refused.value.fields[0][1].removeprefix("at least "))
            assert plan_explanation(model, row, others, Wish(method=method, rows=least)).rows <= least


@pytest.mark.parametrize("text", ["", " \n ", "a " * 4_001])
def test_a_text_without_words_or_with_too_many_is_refused(text):
    with pytest.raises(InvalidInput, match="1 to 4,000"):
        plan_explanation(TEXT, {"text": np.array([text], dtype=object)}, None, Wish())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (manifest([Column(name="text", kind="text")], task="text-embedding", labels=()), "gives vectors"),
        (manifest([], task="tensors", labels=()), "bare tensors"),
        (manifest(COLUMNS, task="tensors", labels=()), "bare tensors"),
        (VECTOR, "several numbers"),
        (manifest(COLUMNS, task="tabular-classification", is_batched=False), "bare tensors"),
        (
            manifest([*COLUMNS, Column(name="x", kind="image", shape=(8, 8))], task="tabular-classification"),
            "pictures among other columns",
        ),
    ],
)
def test_a_model_without_a_class_or_number_to_explain_says_so(model, told):
    with pytest.raises(InvalidInput, match=told):
        form_of(model)

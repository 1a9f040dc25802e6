"""One graph from raw columns to answers: names that collide, golden rows, and answers that no neighbour changes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import helper, numpy_helper

from modeltap.bundle.golden import Golden, awkward_rows, record_golden, replay_golden, wire_rows
from modeltap.bundle.invariance import measure_min_batch
from modeltap.bundle.join import join_graphs
from modeltap.data.features import fit_features
from modeltap.data.fitting import FitSettings
from modeltap.data.graph import new_model, value_info
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.features import FEATURES
from modeltap.domain.recipe import Clean, Transforms
from modeltap.domain.signature import Batch, Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine
from modeltap.errors import GoldenMismatch, InvalidData

LABELS = ("no", "yes")


def softmax_model(width: int) -> Any:
    """Features (N, width) → two probabilities, by fixed weights."""
    weights = numpy_helper.from_array(np.linspace(-1, 1, width * 2, dtype=np.float32).reshape(width, 2), "w")
    nodes = [helper.make_node("MatMul", [FEATURES, "w"], ["z"]), helper.make_node("Softmax", ["z"], ["prediction"], axis=1)]
    inputs = [value_info(TensorSpec(FEATURES, "FP32", (-1, width)))]
    outputs = [value_info(TensorSpec("prediction", "FP32", (-1, 2)))]
    return new_model(helper.make_graph(nodes, "m", inputs, outputs, [weights]))


def joined(*names: str, output: str | None = None) -> tuple[Schema, OnnxEngine, bytes]:
    columns = tuple(Column(name=name, kind="number" if i % 2 == 0 else "category") for i, name in enumerate(names))
    schema = Schema(form="table", columns=columns)
    batch: Batch = {c.name: np.arange(20.0) if c.kind == "number" else np.array(list("ab" * 10), dtype=object) for c in columns}
    settings = FitSettings(transforms=Transforms(), clean=Clean(), trees=False, auto_categories="one-hot")
    features = fit_features(schema, batch, np.arange(20) % 2, settings)
    model = softmax_model(features.spec.shape[0])
    graph, signature = join_graphs(features.graph, model, inputs=features.inputs, output=output, labels=LABELS)
    content = graph.SerializeToString(deterministic=True)
    return schema, OnnxEngine(content, signature), content


ROWS = [[3.5, "a"], [None, None], [1e9, "never seen"], [0, "b"]]


@pytest.mark.parametrize("names", [("label", "prediction"), ("features", "codes"), ("a/b", "größe 'x' \"y\"")])
def test_a_column_may_have_any_name(names: tuple[str, str]) -> None:
    _, plain, _ = joined("x", "y")
    schema, engine, _ = joined(*names)
    assert not {spec.name for spec in engine.signature.outputs} & set(names)
    given = engine.run({names[0]: np.array([3.5]), names[1]: np.array(["a"], dtype=object)})
    expected = plain.run({"x": np.array([3.5]), "y": np.array(["a"], dtype=object)})
    answer, truth = engine.signature.outputs[0].name, plain.signature.outputs[0].name
    np.testing.assert_array_equal(given[answer], expected[truth])
    assert [c.name for c in schema.features] == list(names)


def test_a_name_that_the_graph_needs_for_itself_is_refused() -> None:
    with pytest.raises(InvalidData, match=r"no feature can be called 'modeltap\.features'"):
        joined("modeltap.features", "x")


def test_the_answer_has_the_name_that_the_recipe_gives_and_the_label_is_the_most_probable() -> None:
    _, engine, _ = joined("x", "y", output="y_pred")
    given = engine.run({"x": np.array([3.5, -9.0]), "y": np.array(["a", "b"], dtype=object)})
    assert [spec.name for spec in engine.signature.outputs] == ["y_pred", "label"]
    assert given["label"].tolist() == [LABELS[best] for best in given["y_pred"].argmax(axis=1)]


def test_equal_graphs_have_equal_bytes() -> None:
    assert joined("x", "y")[2] == joined("x", "y")[2]


def test_golden_rows_repeat_to_the_bit_and_survive_json() -> None:
    schema, engine, _ = joined("x", "y")
    golden = record_golden(schema, ROWS + awkward_rows(schema), engine.run)
    kept = msgspec.json.decode(msgspec.json.encode(golden), type=Golden)
    replay_golden(kept, schema, engine.signature, engine.run)


def test_another_answer_is_refused_with_its_row() -> None:
    schema, engine, _ = joined("x", "y")
    golden = record_golden(schema, ROWS, engine.run)

    def drifted(batch: Batch) -> Batch:
        outputs = engine.run(batch)
        outputs["prediction"] = outputs["prediction"].copy()
        outputs["prediction"][2, 0] += np.float32(1e-6)
        return outputs

    with pytest.raises(GoldenMismatch, match="golden row 3"):
        replay_golden(golden, schema, engine.signature, drifted)


def test_on_another_processor_a_rounding_is_allowed_and_a_difference_is_not() -> None:
    schema, engine, _ = joined("x", "y")
    golden = msgspec.structs.replace(record_golden(schema, ROWS, engine.run), environment={"processor": "another"})

    def shifted(by: float) -> Any:
        return lambda batch: {
            name: values + np.float32(by) if values.dtype == np.float32 else values
            for name, values in engine.run(batch).items()
        }

    replay_golden(golden, schema, engine.signature, shifted(1e-6))
    with pytest.raises(GoldenMismatch):
        replay_golden(golden, schema, engine.signature, shifted(1e-3))


def test_wire_rows_are_json_and_read_back_the_same() -> None:
    schema = Schema(form="table", columns=(Column(name="n", kind="number"), Column(name="c", kind="category")))
    rows = wire_rows(schema, {"n": np.array([1.5, np.nan]), "c": ["a", None]})
    assert rows == [{"n": 1.5, "c": "a"}, {"n": None, "c": None}]


def neighbourly(batch: Batch) -> Batch:
    """A kernel that rounds in another way when it has one row, as matrix kernels do."""
    return {"y": batch["x"] * np.float32(1.1) + np.float32(1e-7) * (len(batch["x"]) == 1)}


def test_the_smallest_batch_with_steady_answers_is_found() -> None:
    sample: Batch = {"x": np.linspace(1, 2, 7, dtype=np.float32)}
    assert measure_min_batch(neighbourly, sample) == 2
    assert measure_min_batch(lambda batch: {"y": batch["x"] * 2}, sample) == 1
    assert measure_min_batch(lambda batch: {"y": batch["x"] + np.float32(len(batch["x"]))}, sample) == 0


@pytest.mark.parametrize("min_batch", [0, 1, 4])
def test_an_engine_answers_every_row_whatever_it_pads(min_batch: int) -> None:
    _, engine, content = joined("x", "y")
    padded = OnnxEngine(content, Signature(engine.signature.inputs, engine.signature.outputs), min_batch=min_batch)
    rows: Batch = {"x": np.arange(3.0), "y": np.array(list("abz"), dtype=object)}
    for name, values in padded.run(rows).items():
        np.testing.assert_array_equal(values, engine.run(rows)[name])

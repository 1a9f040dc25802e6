"""Two graphs become one from raw columns to answers, whatever the columns and labels are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from modeltap.bundle.join import free_name, join_graphs
from modeltap.data.features import fit_features
from modeltap.data.fitting import FitSettings
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.features import FEATURES
from modeltap.domain.recipe import Clean, Transforms
from modeltap.domain.signature import ONNX_IR_VERSION, ONNX_ML_OPSET, ONNX_OPSET, TensorSpec
from modeltap.engines.onnx import OnnxEngine

LABELS = ("<=50K.", "más de 50 K", "", "quote'\"s\n")


def preprocessing(names: list[str]) -> Any:
    """Features of number columns, as they are."""
    columns = tuple(Column(name=name, kind="number") for name in names)
    schema = Schema(form="table", columns=(*columns, Column(name="the target", kind="category", role="target")))
    settings = FitSettings(transforms=Transforms(numbers="none"), clean=Clean(), trees=False, auto_categories="one-hot")
    batch = {name: np.array([1.0, 2.0]) for name in names}
    return fit_features(schema, batch, np.array([0, 1]), settings)


def softmax_model(width: int, classes: int) -> Any:
    """(N, width) → probabilities; class i is the likelier, the larger feature i is. Full of what exporters leave behind."""
    weights = np.eye(width, classes, dtype=np.float32)
    product = helper.make_node("MatMul", [FEATURES, "w"], ["logit"], doc_string="File '/tmp/secret/model.py'")
    nodes = [product, helper.make_node("Softmax", ["logit"], ["prediction"], axis=1)]
    graph = helper.make_graph(
        nodes,
        "random-name-4711",
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", classes])],
        [onnx.numpy_helper.from_array(weights, "w")],
        doc_string="File '/tmp/secret/model.py'",
    )
    opsets = [helper.make_opsetid("ai.onnx", ONNX_OPSET), helper.make_opsetid("ai.onnx.ml", ONNX_ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ONNX_IR_VERSION, producer_version="9.9")


def joined(names: list[str], *, output: str | None = None, labels: tuple[str, ...] = LABELS) -> Any:
    fitted = preprocessing(names)
    return join_graphs(fitted.graph, softmax_model(len(names), len(labels)), inputs=fitted.inputs, output=output, labels=labels)


def answers(names: list[str], row: list[float], **options: Any) -> tuple[Any, dict[str, Any]]:
    graph, signature = joined(names, **options)
    engine = OnnxEngine(graph.SerializeToString(), signature)
    return signature, engine.run({name: np.array([cell]) for name, cell in zip(names, row, strict=True)})


def test_each_set_of_operators_is_imported_once():
    """The default one has two names, and exporters differ."""
    graph, _ = joined(["a", "b"], labels=LABELS[:2])
    assert sorted((opset.domain, opset.version) for opset in graph.opset_import) == [
        ("", ONNX_OPSET),
        ("ai.onnx.ml", ONNX_ML_OPSET),
    ]


def test_probabilities_and_the_most_probable_label():
    signature, outputs = answers(["a", "b", "c", "d"], [0.0, 3.0, 1.0, 2.0])
    assert signature.inputs == tuple(TensorSpec(name, "FP64", (-1,)) for name in "abcd")
    assert signature.outputs == (TensorSpec("prediction", "FP32", (-1, 4)), TensorSpec("label", "BYTES", (-1,)))
    weights = np.exp([0.0, 3.0, 1.0, 2.0])
    np.testing.assert_allclose(outputs["prediction"], [weights / weights.sum()], rtol=1e-6)
    assert outputs["label"].tolist() == [LABELS[1]]
    assert [answers(list("abcd"), row.tolist())[1]["label"][0] for row in np.eye(4)] == list(LABELS)


TAKEN = ["label", "prediction", "label_", "prediction_", "y_pred", "prediction/x", "modeltap", "w", "logit", "batch"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_column_may_have_the_name_of_an_output_or_of_an_inner_tensor(name):
    names = [name, "other", "x", "z"]
    signature, outputs = answers(names, [0.0, 1.0, 5.0, 2.0])
    assert [spec.name for spec in signature.inputs] == names
    given_names = [spec.name for spec in signature.outputs]
    assert len({*names, *given_names}) == 6
    assert outputs[given_names[1]].tolist() == [LABELS[2]]


@pytest.mark.parametrize("output", ["y_pred", "label", "x", "a b", "prédiction"])
def test_the_answer_is_called_as_the_recipe_says_as_far_as_the_name_is_free(output):
    signature, outputs = answers(["x", "b", "c", "d"], [9.0, 0.0, 0.0, 0.0], output=output)
    answer, label = (spec.name for spec in signature.outputs)
    assert answer == ("x_" if output == "x" else output) and label == ("label_" if output == "label" else "label")
    assert outputs[label].tolist() == [LABELS[0]]


COLUMN_NAME = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)


@given(st.lists(COLUMN_NAME, min_size=4, max_size=4, unique=True))
def test_any_names_of_columns_lead_to_a_graph_that_answers(names):
    signature, outputs = answers(names, [0.0, 0.0, 0.0, 1.0])
    assert [spec.name for spec in signature.inputs] == names
    assert outputs[signature.outputs[1].name].tolist() == [LABELS[3]]


def test_nothing_of_the_place_where_it_was_made_stays_in_the_graph():
    graph, _ = joined(["a", "b", "c", "d"])
    content = graph.SerializeToString(deterministic=True)
    for left_behind in (b"File '", b"random-name", b"9.9"):
        assert left_behind not in content
    assert content == joined(["a", "b", "c", "d"])[0].SerializeToString(deterministic=True)


def test_a_free_name():
    assert free_name("a", []) == "a"
    assert free_name("a", ["a", "a_"]) == "a__"

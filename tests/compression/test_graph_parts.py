"""A served graph taken apart and put together again answers every raw row as before."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Network

from modeltap.bundle.join import join_graphs
from modeltap.compression.graph_parts import take_apart
from modeltap.data.graph import GraphWriter
from modeltap.domain.features import CODES, FEATURES, FeatureSpec
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine
from modeltap.errors import Broken

SPEC = FeatureSpec(shape=(2,), cardinalities=(3,))
INPUTS = (TensorSpec("age", "FP64", (-1,)), TensorSpec("colour", "BYTES", (-1,)))
LABELS = ("a", "b", "c", "d")
ROWS = {"age": np.array([1.0, 2.0, np.nan]), "colour": np.array(["red", "blue", "never seen"], dtype=object)}


def preprocessing():
    """Two features of a number, and the code of a text."""
    writer = GraphWriter("features")
    number = writer.cast("age", "FP32")
    column = writer.node("Unsqueeze", [number, writer.constant([1], np.int64)])
    known = writer.node("Where", [writer.node("IsNaN", [column]), writer.constant(0, np.float32), column])
    writer.node("Concat", [known, writer.node("Neg", [known])], axis=1, out=FEATURES)
    code = writer.node(
        "LabelEncoder", ["colour"], domain="ai.onnx.ml", keys_strings=["red", "blue"], values_int64s=[1, 2], default_int64=0
    )
    writer.node("Unsqueeze", [code, writer.constant([1], np.int64)], out=CODES)
    return writer.model(INPUTS, [TensorSpec(FEATURES, "FP32", (-1, 2)), TensorSpec(CODES, "INT64", (-1, 1))])


def joined(features, network):
    graph, signature = join_graphs(features, network, inputs=INPUTS, output=None, labels=LABELS)
    return graph.SerializeToString(), signature


def test_apart_and_together_again():
    network = Network("mlp", {"hidden": [6]}, SPEC)
    content, signature = joined(preprocessing(), network.graph())
    parts = take_apart(content, INPUTS, SPEC)
    assert [spec.name for spec in parts.between] == [FEATURES, CODES]
    read = OnnxEngine(parts.features.SerializeToString(), Signature(INPUTS, parts.between)).run(ROWS)
    assert read[CODES].tolist() == [[1], [2], [0]] and read[FEATURES][2].tolist() == [0.0, 0.0]
    again, same = joined(parts.features, parts.network)
    assert same == signature
    first, second = (OnnxEngine(one, signature).run(ROWS) for one in (content, again))
    for name, values in first.items():
        assert (values == second[name]).all()


def test_a_graph_that_was_not_joined_here_is_refused():
    with pytest.raises(Broken, match="no network that stands apart"):
        take_apart(preprocessing().SerializeToString(), INPUTS, SPEC)

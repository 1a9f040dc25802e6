"""Boosted trees → one ONNX graph that answers as scikit-learn does, for every float32 input and for missing values.

The nodes are written here: thresholds and leaves stay float64 (a float32 threshold sends some inputs the other way), a missing
value goes the way that was learned, and nothing in the file is random.

Letters: N samples, C classes, K trees an iteration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from modeltap.domain.features import FEATURES, FeatureSpec
from modeltap.domain.signature import ONNX_ML_OPSET, ONNX_OPSET
from modeltap.training.graphs import PREDICTION, ROWS, clean_graph
from modeltap.training.trees_sets import split_nodes


def trees_graph(model: Any, spec: FeatureSpec, *, num_classes: int) -> onnx.ModelProto:
    """FEATURES → `prediction`: (N, C) probabilities, or (N,) values where `num_classes` is 0.

    model: a fitted HistGradientBoostingClassifier or -Regressor over features in a row, whose categories are those of the spec.
    """
    nodes = []
    wide = FEATURES
    if len(spec.shape) > 1:
        nodes.append(helper.make_node("Flatten", [wide], ["row"]))
        wide = "row"
    nodes.append(helper.make_node("Cast", [wide], ["wide"], to=TensorProto.DOUBLE))
    trees = helper.make_node("TreeEnsembleRegressor", ["wide"], ["raw"], domain="ai.onnx.ml", **_attributes(model, spec))
    nodes.append(trees)
    weights: list[onnx.TensorProto] = []
    if num_classes:
        _add_probabilities(nodes, weights, model, num_classes)
        output = helper.make_tensor_value_info(PREDICTION, TensorProto.FLOAT, [ROWS, num_classes])
    else:
        weights.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat"))
        nodes.append(helper.make_node("Reshape", ["raw", "flat"], [PREDICTION]))
        output = helper.make_tensor_value_info(PREDICTION, TensorProto.FLOAT, [ROWS])
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, [ROWS, *spec.shape])
    graph = helper.make_graph(nodes, "modeltap", [features], [output], weights)
    opsets = [helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid("ai.onnx.ml", ONNX_ML_OPSET)]
    return clean_graph(helper.make_model(graph, opset_imports=opsets))


def _add_probabilities(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], model: Any, num_classes: int) -> None:
    """Scores → probabilities; a class that training never saw has 0."""
    found = [int(code) for code in model.classes_]
    complete = found == list(range(num_classes))
    known = PREDICTION if complete else "known"
    if len(found) == 2:
        weights.append(numpy_helper.from_array(np.array(1, dtype=np.float32), "one"))
        nodes.append(helper.make_node("Sigmoid", ["raw"], ["second"]))
        nodes.append(helper.make_node("Sub", ["one", "second"], ["first"]))
        nodes.append(helper.make_node("Concat", ["first", "second"], [known], axis=1))
    else:
        nodes.append(helper.make_node("Softmax", ["raw"], [known], axis=1))
    if not complete:
        places = np.zeros((len(found), num_classes), dtype=np.float32)
        places[np.arange(len(found)), found] = 1
        weights.append(numpy_helper.from_array(places, "places"))
        nodes.append(helper.make_node("MatMul", [known, "places"], [PREDICTION]))


def _attributes(model: Any, spec: FeatureSpec) -> dict[str, Any]:
    trees = [split_nodes(tree, model, spec) for iteration in model._predictors for tree in iteration]
    per_iteration = model.n_trees_per_iteration_
    nodes = np.concatenate(trees)
    sizes = [len(tree) for tree in trees]
    tree_of = np.repeat(np.arange(len(trees)), sizes)
    node_of = np.concatenate([np.arange(size) for size in sizes])
    leaf = nodes["is_leaf"].astype(bool)

    def split(values: NDArray[Any]) -> list[int]:
        return np.where(leaf, 0, values).astype(np.int64).tolist()  # type: ignore[no-any-return]

    return {
        "n_targets": per_iteration,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "base_values_as_tensor": _doubles("base_values", model._baseline_prediction.ravel()),
        "nodes_treeids": tree_of.tolist(),
        "nodes_nodeids": node_of.tolist(),
        "nodes_featureids": split(nodes["feature_idx"]),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_values_as_tensor": _doubles("nodes_values", np.where(leaf, 0.0, nodes["num_threshold"])),
        "nodes_truenodeids": split(nodes["left"]),
        "nodes_falsenodeids": split(nodes["right"]),
        "nodes_missing_value_tracks_true": split(nodes["missing_go_to_left"]),
        "target_treeids": tree_of[leaf].tolist(),
        "target_nodeids": node_of[leaf].tolist(),
        "target_ids": (tree_of[leaf] % per_iteration).tolist(),
        "target_weights_as_tensor": _doubles("target_weights", nodes["value"][leaf]),
    }


def _doubles(name: str, values: NDArray[Any]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float64), name)

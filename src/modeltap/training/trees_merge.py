"""The trees of several folds as one ensemble: one node in the graph instead of a dozen for each fold.

Scores are averaged, so probabilities are the normalised geometric mean of those of the folds; values are their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

TREES = "TreeEnsembleRegressor"
JOINED = (
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
    "target_nodeids",
    "target_ids",
)


def merge_trees(graphs: Sequence[onnx.ModelProto]) -> onnx.ModelProto | None:
    """One graph of the mean score; None where they differ in more than their trees, as when a fold missed a class."""
    first = graphs[0]
    if len({_beside_trees(graph) for graph in graphs}) > 1:
        return None
    ensembles = [_attributes(graph) for graph in graphs]
    offset, tree_of_node, tree_of_leaf = 0, [], []
    for ensemble in ensembles:
        tree_of_node += [tree + offset for tree in ensemble["nodes_treeids"]]
        tree_of_leaf += [tree + offset for tree in ensemble["target_treeids"]]
        offset += max(ensemble["nodes_treeids"]) + 1
    share = 1 / len(ensembles)
    leaves = np.concatenate([numpy_helper.to_array(ensemble["target_weights_as_tensor"]) for ensemble in ensembles]) * share
    bases = np.mean([numpy_helper.to_array(ensemble["base_values_as_tensor"]) for ensemble in ensembles], axis=0)
    thresholds = np.concatenate([numpy_helper.to_array(ensemble["nodes_values_as_tensor"]) for ensemble in ensembles])
    together = {
        **ensembles[0],
        **{name: [value for one in ensembles for value in one[name]] for name in JOINED},
        "nodes_treeids": tree_of_node,
        "target_treeids": tree_of_leaf,
        "nodes_values_as_tensor": numpy_helper.from_array(thresholds, "nodes_values"),
        "target_weights_as_tensor": numpy_helper.from_array(leaves, "target_weights"),
        "base_values_as_tensor": numpy_helper.from_array(bases, "base_values"),
    }
    merged = onnx.ModelProto()
    merged.CopyFrom(first)
    place = next(index for index, node in enumerate(merged.graph.node) if node.op_type == TREES)
    old = merged.graph.node[place]
    node = helper.make_node(TREES, list(old.input), list(old.output), name=old.name, domain=old.domain, **together)
    old.CopyFrom(node)
    return merged


def _attributes(graph: onnx.ModelProto) -> dict[str, Any]:
    node = next(node for node in graph.graph.node if node.op_type == TREES)
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _beside_trees(graph: onnx.ModelProto) -> bytes:
    rest = onnx.ModelProto()
    rest.CopyFrom(graph)
    for node in rest.graph.node:
        if node.op_type == TREES:
            del node.attribute[:]
    content: bytes = rest.SerializeToString(deterministic=True)
    return content

"""Splits that part the categories of a feature in two sets, written as thresholds.

Codes stand in the order of the target, so the codes of a set lie together in few runs. A chain of thresholds walks over the
runs and leads every other one to the same child: ONNX Runtime takes nodes that share a child, and is fastest where all nodes
compare in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.features import FeatureSpec

BITS = 32


def split_nodes(tree: Any, model: Any, spec: FeatureSpec) -> NDArray[Any]:
    """The tree's nodes, none of which is categorical any more; those that were added stand at the end."""
    nodes: NDArray[Any] = tree.nodes
    where = np.flatnonzero(nodes["is_categorical"].astype(bool))
    if not len(where):
        return nodes
    counts = dict(spec.categories)
    known, place_of = model._bin_mapper.make_known_categories_bitsets()
    parts, total = [nodes.copy()], len(nodes)
    for index in where.tolist():
        node = nodes[index]
        feature = int(node["feature_idx"])
        codes = np.arange(counts[feature])
        missing_left = bool(node["missing_go_to_left"])
        is_known = _in_set(known[place_of[feature]], codes)
        goes_left = np.where(is_known, _in_set(tree.raw_left_cat_bitsets[node["bitset_idx"]], codes), missing_left)
        chain = _chain(node, goes_left, missing_left=missing_left, first=index, after=total)
        parts[0][index] = chain[0]
        parts.append(chain[1:])
        total += len(chain) - 1
    whole: NDArray[Any] = np.concatenate(parts)
    whole["is_categorical"] = 0
    return whole


def _chain(node: Any, goes_left: NDArray[np.bool_], *, missing_left: bool, first: int, after: int) -> NDArray[Any]:
    """A threshold after each run of codes but the last: true is the child of the run, false the next threshold, and of the
    last one the child of the last run. `first` is the place of the first node, `after` that of those behind it."""
    ends = np.flatnonzero(goes_left[1:] != goes_left[:-1])
    if not len(ends):
        ends = np.array([len(goes_left) - 1])  # all codes go one way, and what is missing the other
        goes_left = np.append(goes_left, not goes_left[0])
    chain = np.repeat(np.asarray(node).reshape(1), len(ends))
    children = {True: node["left"], False: node["right"]}
    chain["num_threshold"] = ends + 0.5
    chain["left"] = [children[bool(goes_left[end])] for end in ends]
    chain["right"][:-1] = after + np.arange(len(ends) - 1)
    chain["right"][-1] = children[bool(goes_left[ends[-1] + 1])]
    chain["missing_go_to_left"] = [bool(goes_left[end]) == missing_left for end in ends]
    return chain


def _in_set(bits: NDArray[np.uint32], codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (bits[codes // BITS] >> (codes % BITS).astype(np.uint32)) & 1 == 1
    return found

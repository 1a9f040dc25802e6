"""Several models with their preprocessing → one graph that answers with their weighted mean.

A view is a preprocessing that some of the models share, such as that of trees or of networks. Letters: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeltap.bundle.join import PREDICTION
from modeltap.data.graph import PREFIX, GraphWriter, new_model


@dataclass(frozen=True)
class Member:
    """`graph`: a view's tensors → PREDICTION, float32 (N, C) probabilities or (N,) numbers."""

    view: str
    graph: Any
    weight: float


def views_graph(views: Mapping[str, Any]) -> Any:
    """The preprocessing of all views beside each other: raw columns → each view's tensors, under names of its own.

    views: by their names, graphs over the same raw columns.
    """
    from onnx import helper

    parts = [_scoped(graph.graph, _scope(name), keep=_names(graph.graph.input)) for name, graph in views.items()]
    first = next(iter(views.values()))
    graph = helper.make_graph(
        [node for part in parts for node in part.node],
        "modeltap",
        list(first.graph.input),
        [value for part in parts for value in part.output],
        [constant for part in parts for constant in part.initializer],
    )
    return new_model(graph)


def blend_graph(members: Sequence[Member]) -> Any:
    """The tensors of the views → PREDICTION, the mean of the members' answers by their weights."""
    from onnx import helper

    writer = GraphWriter("blend")
    parts, answers = [], []
    inputs: dict[str, Any] = {}
    for place, member in enumerate(members):
        part = _scoped(member.graph.graph, _scope(f"member_{place}"), keep=(), inputs_under=_scope(member.view))
        inputs |= {value.name: value for value in part.input}
        parts.append(part)
        answers.append((part.output[0].name, member.weight))
    total: str | None = None
    for name, weight in answers:
        share = writer.node("Mul", [name, writer.constant(weight, np.float32)])
        total = share if total is None else writer.node("Add", [total, share])
    assert total is not None
    writer.node("Identity", [total], out=PREDICTION)
    output = helper.make_tensor_value_info(PREDICTION, 1, _axes(parts[0].output[0]))
    graph = helper.make_graph(
        [node for part in parts for node in part.node],
        "modeltap",
        [_with_batch(value) for value in inputs.values()],
        [output],
        [constant for part in parts for constant in part.initializer],
    )
    writer.append_to(graph)
    return new_model(graph)


def _scope(name: str) -> str:
    return f"{PREFIX}{name}/"


def _names(values: Any) -> list[str]:
    return [value.name for value in values]


def _scoped(graph: Any, scope: str, *, keep: Sequence[str], inputs_under: str | None = None) -> Any:
    """A copy in which every name begins with `scope`, but for `keep`; the inputs' with `inputs_under` if that is given."""
    from onnx import GraphProto

    copy = GraphProto()
    copy.CopyFrom(graph)
    given = {name: name for name in ("", *keep)}
    if inputs_under is not None:
        given |= {name: inputs_under + name for name in _names(graph.input)}

    def renamed(name: str) -> str:
        return given.get(name, scope + name)

    for node in copy.node:
        inputs, outputs = [renamed(name) for name in node.input], [renamed(name) for name in node.output]
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
        node.name = scope + node.name
    for value in (*copy.input, *copy.output, *copy.initializer):
        value.name = renamed(value.name)
    return copy


def _axes(value: Any) -> list[str | int]:
    shape = value.type.tensor_type.shape.dim
    return ["batch", *(axis.dim_value for axis in list(shape)[1:])]


def _with_batch(value: Any) -> Any:
    """The input with its first axis called as in every graph of ours."""
    value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return value

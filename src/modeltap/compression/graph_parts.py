"""A served graph taken apart again: what is before the network, and the network itself, which alone is compressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modeltap.bundle.join import MODEL_SCOPE, PREDICTION, free_name, strip_incidentals
from modeltap.data.graph import value_info
from modeltap.domain.features import CODES, FEATURES, FeatureSpec
from modeltap.domain.signature import ONNX_IR_VERSION, TensorSpec
from modeltap.errors import Broken, CannotCompress

OPSET = 13
"""Whose operators have a scale for each channel."""


@dataclass(frozen=True)
class GraphParts:
    """onnx.ModelProtos: raw columns → FEATURES and CODES, and those → PREDICTION. `between` are the tensors that pass."""

    features: Any | None
    """None of a graph that was made elsewhere, which is its own network."""
    network: Any
    between: tuple[TensorSpec, ...]


def take_apart(graph: bytes, inputs: Sequence[TensorSpec], spec: FeatureSpec) -> GraphParts:
    """What `bundle.join` put together; joining the parts again gives a graph with the same answers.

    inputs: of the graph, in its order; spec: of what the network takes. Raises Broken for a graph that was not joined here.
    """
    import onnx
    from onnx import helper

    joined = onnx.load_model_from_string(graph)
    nodes = list(joined.graph.node)
    of_network = [node for node in nodes if node.output[0].startswith(MODEL_SCOPE)]
    taken = {name for node in of_network for name in node.input}
    between = [one for one in _between(spec) if one.name in taken]
    made = {name for node in nodes for name in node.output}
    if not between or not {one.name for one in between} <= made or MODEL_SCOPE + PREDICTION not in made:
        raise Broken("the graph has no network that stands apart from its preprocessing; train the version again")
    versions = {opset.domain: opset.version for opset in joined.opset_import}
    held = {weight.name: weight for weight in joined.graph.initializer}

    def model(parts: Sequence[Any], given: Sequence[TensorSpec], outputs: Sequence[Any]) -> Any:
        names = dict.fromkeys(name for node in parts for name in node.input if name in held)
        inner = helper.make_graph(
            list(parts), "modeltap", [value_info(one) for one in given], list(outputs), [held[name] for name in names]
        )
        # What stands behind the network, once it is joined again, is of the operators of what stands before it.
        used = {node.domain for node in parts} | ({""} if given is between else set(versions))
        opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items() if domain in used]
        one = helper.make_model(inner, opset_imports=opsets, ir_version=ONNX_IR_VERSION, producer_name="modeltap")
        strip_incidentals(one)
        return one

    answer = joined.graph.output[0]
    answer.name = MODEL_SCOPE + PREDICTION
    features = model(_needed(nodes, [one.name for one in between]), inputs, [value_info(one) for one in between])
    return GraphParts(features, _without_scope(model(of_network, between, [answer])), tuple(between))


def whole_graph(graph: bytes, inputs: Sequence[TensorSpec]) -> GraphParts:
    """A graph that was made elsewhere, as a network without preprocessing; every node has a name, by which it can be left out.

    Raises CannotCompress for one of an age that cannot be raised to OPSET.
    """
    import onnx
    from onnx import version_converter

    network = onnx.load_model_from_string(graph)
    used = max((opset.version for opset in network.opset_import if opset.domain in ("", "ai.onnx")), default=OPSET)
    if used < OPSET:
        try:
            network = version_converter.convert_version(network, OPSET)
        except (RuntimeError, ValueError) as problem:
            first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
            raise CannotCompress(
                f"the graph is of opset {used}, and eight bits begin with {OPSET}; it cannot be raised to that"
                f" ({first[:200]}): export it anew, and import that"
            ) from None
    taken = {node.name for node in network.graph.node}
    for place, node in enumerate(network.graph.node):
        if not node.name:
            node.name = free_name(f"{node.op_type}_{place}", taken)
            taken.add(node.name)
    return GraphParts(None, network, tuple(inputs))


def _without_scope(network: Any) -> Any:
    """The same graph with the names that it had before it was joined."""
    for node in network.graph.node:
        node.name = node.name.removeprefix(MODEL_SCOPE)
        for names in (node.input, node.output):
            plain = [name.removeprefix(MODEL_SCOPE) for name in names]
            del names[:]
            names.extend(plain)
    for value in (*network.graph.initializer, *network.graph.input, *network.graph.output):
        value.name = value.name.removeprefix(MODEL_SCOPE)
    return network


def _needed(nodes: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
    """The nodes that the outputs need, in their order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _between(spec: FeatureSpec) -> list[TensorSpec]:
    codes = -1 if spec.padding is not None else len(spec.cardinalities)
    told = [TensorSpec(FEATURES, "FP32", (-1, *spec.shape))] if spec.shape else []
    return told + ([TensorSpec(CODES, "INT64", (-1, codes))] if spec.cardinalities else [])

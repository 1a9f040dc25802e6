"""What the graphs of networks and of trees share: names of inputs and output, and bytes that do not vary."""

from __future__ import annotations

import onnx

from modeltap.domain.features import CODES, FEATURES, FeatureSpec
from modeltap.domain.signature import ONNX_IR_VERSION

PREDICTION = "prediction"
"""Name of the output: (N, C) probabilities, or (N,) values."""
ROWS = "N"
"""Name of the batch axis."""


def input_names(spec: FeatureSpec) -> list[str]:
    """Of the graph's inputs, in the order in which a module takes them."""
    return [name for name, there in ((FEATURES, spec.shape), (CODES, spec.cardinalities)) if there]


def clean_graph(model: onnx.ModelProto, *, weights_under: str = "") -> onnx.ModelProto:
    """The model without anything that exporters leave in it: doc strings, stack traces, metadata, their own names and version.

    Values between nodes and constants are numbered in their order; weights lose the prefix `weights_under`.
    """
    graph = model.graph
    renamed = {} if _has_inner_graphs(graph) else _new_names(graph, weights_under)
    for index, node in enumerate(graph.node):
        inputs = [renamed.get(name, name) for name in node.input]
        outputs = [renamed.get(name, name) for name in node.output]
        del node.input[:], node.output[:], node.metadata_props[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
        node.name = f"{node.op_type}_{index}"
        node.doc_string = ""
    for value in (*graph.input, *graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
        value.type.tensor_type.shape.dim[0].dim_param = ROWS
        for place, extent in enumerate(value.type.tensor_type.shape.dim):
            if place and extent.dim_param:
                extent.dim_param = f"length_{place}"
    for weight in graph.initializer:
        weight.name = renamed.get(weight.name, weight.name)
        weight.doc_string = ""
        del weight.metadata_props[:]
    del graph.value_info[:], graph.metadata_props[:], graph.quantization_annotation[:]
    del model.metadata_props[:]
    graph.name = "modeltap"
    graph.doc_string = model.doc_string = model.producer_name = model.producer_version = model.domain = ""
    model.model_version = 0
    model.ir_version = ONNX_IR_VERSION
    return model


def _new_names(graph: onnx.GraphProto, weights_under: str) -> dict[str, str]:
    held = [weight.name for weight in graph.initializer]
    constants = [name for name in held if not name.startswith(weights_under)] if weights_under else []
    kept = {"", *(value.name for value in (*graph.input, *graph.output)), *held}
    values = [name for node in graph.node for name in node.output if name not in kept]
    return {
        **{name: name.removeprefix(weights_under) for name in held},
        **{name: f"constant_{number}" for number, name in enumerate(constants)},
        **{name: f"value_{number}" for number, name in enumerate(values)},
    }


def _has_inner_graphs(graph: onnx.GraphProto) -> bool:
    inner = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return any(attribute.type in inner for node in graph.node for attribute in node.attribute)

"""A small writer of ONNX graphs: constants, nodes and names, in the order they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modeltap.domain.signature import ONNX_IR_VERSION, ONNX_ML_OPSET, ONNX_OPSET, Datatype, TensorSpec

PREFIX = "modeltap/"
"""Begins every inner name, so that no column's own name can meet one."""

_ONNX_TYPE: dict[Datatype, str] = {
    "BOOL": "BOOL",
    "UINT8": "UINT8",
    "INT64": "INT64",
    "FP32": "FLOAT",
    "FP64": "DOUBLE",
    "BYTES": "STRING",
}


class GraphWriter:
    """Collects nodes and constants; `model` turns them into a checked ModelProto. Equal calls give equal bytes."""

    def __init__(self, scope: str) -> None:
        self._scope = PREFIX + scope
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: Any, dtype: Any) -> str:
        """The name of a constant tensor."""
        from onnx import numpy_helper

        name = f"{self._scope}/constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], *, out: str | None = None, domain: str = "", **attributes: Any) -> str:
        """The name of the node's only output."""
        from onnx import helper

        name = f"{self._scope}/{operator}_{len(self._nodes)}"
        output = out or name
        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=name, domain=domain, **attributes))
        return output

    def cast(self, tensor: str, dtype: Datatype, *, out: str | None = None) -> str:
        from onnx import TensorProto

        return self.node("Cast", [tensor], to=getattr(TensorProto, _ONNX_TYPE[dtype]), out=out)

    def append_to(self, graph: Any) -> None:
        """Put the nodes and constants behind those of an existing graph."""
        graph.node.extend(self._nodes)
        graph.initializer.extend(self._constants)

    def model(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """The finished onnx.ModelProto; the first axis of every input and output is the batch."""
        from onnx import helper

        graph = helper.make_graph(
            self._nodes,
            "modeltap",
            [value_info(spec) for spec in inputs],
            [value_info(spec) for spec in outputs],
            self._constants,
        )
        return new_model(graph)


def new_model(graph: Any) -> Any:
    """A ModelProto of our operator sets around the graph, checked."""
    from onnx import checker, helper

    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid("ai.onnx.ml", ONNX_ML_OPSET)],
        ir_version=ONNX_IR_VERSION,
        producer_name="modeltap",
    )
    checker.check_model(model)
    return model


def value_info(spec: TensorSpec) -> Any:
    """The spec as ONNX says it; the first axis is called `batch`, another variable one by its place."""
    from onnx import TensorProto, helper

    free = ["batch", *(f"length_{axis}" for axis in range(1, len(spec.shape)))]
    shape = [free[axis] if extent == -1 else extent for axis, extent in enumerate(spec.shape)]
    return helper.make_tensor_value_info(spec.name, getattr(TensorProto, _ONNX_TYPE[spec.datatype]), shape)

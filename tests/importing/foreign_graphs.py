"""Graphs as other programs write them, made with onnx itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modeltap.importing.onnx import Imported, import_onnx
from modeltap.importing.onnx_child import describe_graph

Axes = Sequence[int | str | None] | None
Tensor = tuple[str, int, Axes]
"""Name, ONNX's type, axes."""


def graph(
    nodes: Sequence[Any],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model of these nodes."""
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def sum_and_difference(kind: int = TensorProto.INT32, axes: Axes = (1, 16)) -> onnx.ModelProto:
    """INPUT0, INPUT1 → OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1."""
    nodes = [helper.make_node(kind_, ["INPUT0", "INPUT1"], [out]) for kind_, out in (("Add", "OUTPUT0"), ("Sub", "OUTPUT1"))]
    return graph(nodes, [(f"INPUT{n}", kind, axes) for n in (0, 1)], [(f"OUTPUT{n}", kind, axes) for n in (0, 1)])


def text_sum_and_difference(axes: Axes = (1, 16)) -> onnx.ModelProto:
    """The same of numbers written as text."""
    nodes = [helper.make_node("Cast", [f"INPUT{n}"], [f"number{n}"], to=TensorProto.INT32) for n in (0, 1)]
    for operator, out in (("Add", "OUTPUT0"), ("Sub", "OUTPUT1")):
        nodes.append(helper.make_node(operator, ["number0", "number1"], [f"{out}_number"]))
        nodes.append(helper.make_node("Cast", [f"{out}_number"], [out], to=TensorProto.STRING))
    kind = TensorProto.STRING
    return graph(nodes, [(f"INPUT{n}", kind, axes) for n in (0, 1)], [(f"OUTPUT{n}", kind, axes) for n in (0, 1)])


def identity(kind: int = TensorProto.STRING, axes: Axes = (1, 16)) -> onnx.ModelProto:
    return graph([helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])], [("INPUT0", kind, axes)], [("OUTPUT0", kind, axes)])


def dense(inner: int = 64, outer: int = 8) -> onnx.ModelProto:
    """x FP32 (N, inner) → y = x · w + b, whose kernels round differently for one row than for many."""
    chance = np.random.default_rng(0)
    constants = {
        "w": chance.standard_normal((inner, outer)).astype(np.float32),
        "b": chance.standard_normal(outer).astype(np.float32),
    }
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])]
    kind = TensorProto.FLOAT
    return graph(nodes, [("x", kind, ("N", inner))], [("y", kind, ("N", outer))], constants=constants)


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx", **how: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, folder / name, **how)
    return folder / name


def described(model: onnx.ModelProto, folder: Path) -> dict[str, Path]:
    """The files of the graph's bundle, made in this process: for graphs that the test itself wrote."""
    (folder / "bundle").mkdir(parents=True)
    describe_graph(save(model, folder / "graph"), folder / "bundle")
    return {path.name: path for path in sorted((folder / "bundle").iterdir())}


def imported(model: onnx.ModelProto, folder: Path) -> Imported:
    """The bundle of the graph, by the child process that reads those of others."""
    (folder / "bundle").mkdir(parents=True)
    return import_onnx(save(model, folder / "graph"), folder / "bundle")


def spinning() -> onnx.ModelProto:
    """rounds INT64 (1,) → done FP32 (1,): some millions of rounds a second."""

    def told(*tensors: tuple[str, int, Axes]) -> list[Any]:
        return [helper.make_tensor_value_info(*one) for one in tensors]

    inner = [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["state"], ["state_on"])]
    truth, number = TensorProto.BOOL, TensorProto.FLOAT
    given = told(("at", TensorProto.INT64, ()), ("go", truth, ()), ("state", number, (1,)))
    step = helper.make_graph(inner, "step", given, told(("go_on", truth, ()), ("state_on", number, (1,))))
    nodes = [
        helper.make_node("Squeeze", ["rounds"], ["count"]),
        helper.make_node("Loop", ["count", "yes", "start"], ["done"], body=step),
    ]
    constants = {"yes": np.array(True), "start": np.ones(1, np.float32)}
    return graph(nodes, [("rounds", TensorProto.INT64, (1,))], [("done", number, (1,))], constants=constants)

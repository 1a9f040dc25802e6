"""Bundles of graphs that are written down node by node: ready in milliseconds, and each answer is known without running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from onnx import TensorProto, helper

from modeltap.bundle.files import GOLDEN, bundle_files
from modeltap.bundle.golden import Golden, record_golden
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import ONNX_IR_VERSION, ONNX_OPSET, Datatype, Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine

ONNX_TYPE: dict[Datatype, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
ENDLESS = 1 << 50
"""As a value of `spinning_bundle`: its run does not end."""

Files = dict[str, Path]


def times_bundle(folder: Path, factor: float = 2.0) -> Files:
    """x FP32 (N, 4) → y = x · factor."""
    nodes = [
        helper.make_node("Constant", [], ["factor"], value=helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])),
        helper.make_node("Mul", ["x", "factor"], ["y"]),
    ]
    signature = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),))
    columns = (Column(name="x", kind="array", shape=(4,)),)
    return _write(folder, nodes, signature, Schema(form="arrays", columns=columns), [[1.0, 2.0, 3.0, 4.0], [0.5, 0, 0, -1]])


def spinning_bundle(folder: Path) -> Files:
    """x INT64 (N, 1) → y = x, after a loop of as many rounds as the largest x says; some millions a second."""
    step = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["state"], ["state_next"])],
        "step",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.INT64, ["N", 1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_next", TensorProto.INT64, ["N", 1]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["rounds"], keepdims=0),
        helper.make_node("Loop", ["rounds", "", "x"], ["y"], body=step),
    ]
    signature = Signature((TensorSpec("x", "INT64", (-1, 1)),), (TensorSpec("y", "INT64", (-1, 1)),))
    columns = (Column(name="x", kind="array", shape=(1,), datatype="INT64"),)
    return _write(folder, nodes, signature, Schema(form="arrays", columns=columns), [[1], [3]])


def words_bundle(folder: Path) -> Files:
    """word BYTES (N,), size FP64 (N,) → both as they are: word_out, size_out."""
    nodes = [helper.make_node("Identity", ["word"], ["word_out"]), helper.make_node("Identity", ["size"], ["size_out"])]
    inputs = (TensorSpec("word", "BYTES", (-1,)), TensorSpec("size", "FP64", (-1,)))
    outputs = (TensorSpec("word_out", "BYTES", (-1,)), TensorSpec("size_out", "FP64", (-1,)))
    columns = (Column(name="word", kind="category"), Column(name="size", kind="number"))
    rows = [{"word": "Köln", "size": 1.5}, {"word": "", "size": None}]
    return _write(folder, nodes, Signature(inputs, outputs), Schema(form="table", columns=columns), rows)


def lookup_bundle(folder: Path) -> Files:
    """x INT64 (N, 1) → y FP32 (N, 1) = 10 · x for 0 to 4; the graph fails on every other number."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [5], [0.0, 10.0, 20.0, 30.0, 40.0])
    nodes = [
        helper.make_node("Constant", [], ["table"], value=table),
        helper.make_node("Gather", ["table", "x"], ["y"]),
    ]
    signature = Signature((TensorSpec("x", "INT64", (-1, 1)),), (TensorSpec("y", "FP32", (-1, 1)),))
    columns = (Column(name="x", kind="array", shape=(1,), datatype="INT64"),)
    return _write(folder, nodes, signature, Schema(form="arrays", columns=columns), [[3]])


def total_bundle(folder: Path) -> Files:
    """x FP32 (N, 4) → y FP32 (), the sum of all: a graph whose answers have no axis of rows."""
    signature = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", ()),))
    schema = Schema(form="arrays", columns=(Column(name="x", kind="array", shape=(4,)),))
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    return _write(folder, nodes, signature, schema, [], free_shape=True)


def identity_bundle(folder: Path, datatype: Datatype) -> Files:
    """x of this type and any shape, without an axis of rows → y = x."""
    signature = Signature((TensorSpec("x", datatype, (-1, -1)),), (TensorSpec("y", datatype, (-1, -1)),))
    schema = Schema(form="arrays", columns=(Column(name="x", kind="array"),))
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return _write(folder, nodes, signature, schema, [], free_shape=True)


def hungry_bundle(folder: Path, num_values: int) -> Files:
    """x FP32 (N, 4) → y FP32 (N, 4) = x, and on the way a tensor of so many values."""
    zeros = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    nodes = [
        helper.make_node("Constant", [], ["size"], value=helper.make_tensor("size", TensorProto.INT64, [1], [num_values])),
        helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
        helper.make_node("Mul", ["size", "rows"], ["much"]),
        helper.make_node("ConstantOfShape", ["much"], ["zeros"], value=zeros),
        helper.make_node("ReduceMax", ["zeros"], ["most"], keepdims=0),
        helper.make_node("Add", ["x", "most"], ["y"]),
    ]
    signature = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),))
    schema = Schema(form="arrays", columns=(Column(name="x", kind="array", shape=(4,)),))
    files = _write(folder, nodes, signature, schema, [])
    return with_golden(files, folder, [[1, 2, 3, 4]], {"y": [[1.0, 2.0, 3.0, 4.0]]})


def with_golden(files: Files, folder: Path, rows: list[Any], answers: dict[str, list[Any]]) -> Files:
    """The bundle with these golden rows."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GOLDEN).write_bytes(msgspec.json.encode({"rows": rows, "answers": answers, "environment": {}}))
    return {**files, GOLDEN: folder / GOLDEN}


def with_wrong_answer(files: Files, folder: Path) -> Files:
    """The bundle with another first answer recorded than the graph gives."""
    golden = msgspec.json.decode(files[GOLDEN].read_bytes())
    golden["answers"][next(iter(golden["answers"]))][0][0] += 1
    return with_golden(files, folder, golden["rows"], golden["answers"])


def _write(
    folder: Path, nodes: list[Any], signature: Signature, schema: Schema, rows: Sequence[Any], *, free_shape: bool = False
) -> Files:
    def told(spec: TensorSpec) -> Any:
        shape = None if free_shape else ["N" if extent < 0 else extent for extent in spec.shape]
        return helper.make_tensor_value_info(spec.name, ONNX_TYPE[spec.datatype], shape)

    graph = helper.make_graph(nodes, "small", [told(s) for s in signature.inputs], [told(s) for s in signature.outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ONNX_OPSET)], ir_version=ONNX_IR_VERSION)
    content = model.SerializeToString()
    engine = OnnxEngine(content, signature)
    manifest = Manifest(
        task="tabular-regression",
        architecture="written-down",
        signature=signature,
        engine=EngineChoice(),
        schema=schema,
        output=signature.outputs[0].name,
        lineage=Lineage(dataset="none@1", dataset_digest="", recipe_digest="", code_version="0", seed=0, threads=1),
        is_batched=not free_shape,
    )
    golden = record_golden(schema, rows, engine.run) if rows else Golden(rows=[], answers={}, environment={})
    folder.mkdir(parents=True, exist_ok=True)
    files: Files = {}
    for name, data in bundle_files(
        manifest=manifest, graph=content, golden=golden, card="", recipe_yaml="", weights={}, architecture={}
    ).items():
        files[name] = folder / name
        files[name].write_bytes(data)
    return files

"""Preprocessing graph + model graph → one graph from raw typed columns to answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from modeltap.data.graph import PREFIX, GraphWriter, value_info
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.domain.task import LABEL

MODEL_SCOPE = f"{PREFIX}model/"
PREDICTION = "prediction"
"""The output of every model graph that training hands over."""


def join_graphs(
    features: Any,
    model: Any,
    *,
    inputs: Sequence[TensorSpec],
    output: str | None,
    labels: Sequence[str],
    width: int | None = None,
) -> tuple[Any, Signature]:
    """The joined onnx.ModelProto and its signature.

    features: raw columns → tensors named as the model's inputs. model: those → PREDICTION, float32 (N, C) probabilities or
    (N,) numbers, or vectors (N, width). `output` names the answer (default `prediction`). With labels the graph also gives
    the most probable one as text. An output whose name a column already has gets underscores behind it.
    """
    from onnx import checker, compose

    taken = {spec.name for spec in inputs}
    answer = free_name(output or PREDICTION, taken)
    prefixed = compose.add_prefix(model, MODEL_SCOPE)
    wires = [(name.name, MODEL_SCOPE + name.name) for name in model.graph.input]
    joined = compose.merge_models(features, prefixed, io_map=wires, producer_name="modeltap", name="modeltap")
    del joined.graph.output[:]
    writer = GraphWriter("answer")
    wide = len(labels) or width
    outputs = [TensorSpec(answer, "FP32", (-1, wide) if wide else (-1,))]
    writer.node("Identity", [MODEL_SCOPE + PREDICTION], out=answer)
    if labels:
        label = free_name(LABEL, taken | {answer})
        best = writer.node("ArgMax", [answer], axis=1, keepdims=0)
        writer.node(
            "LabelEncoder",
            [best],
            out=label,
            domain="ai.onnx.ml",
            keys_int64s=np.arange(len(labels)).tolist(),
            values_strings=list(labels),
            default_string="",
        )
        outputs.append(TensorSpec(label, "BYTES", (-1,)))
    writer.append_to(joined.graph)
    joined.graph.output.extend(value_info(spec) for spec in outputs)
    strip_incidentals(joined)
    _import_once(joined)
    checker.check_model(joined, full_check=True)
    return joined, Signature(tuple(inputs), tuple(outputs))


def _import_once(model: Any) -> None:
    """Each set of operators is imported once; merging leaves the default one under both of its names."""
    versions = {"" if opset.domain == "ai.onnx" else opset.domain: opset.version for opset in model.opset_import}
    del model.opset_import[:]
    for domain, version in versions.items():
        model.opset_import.add(domain=domain, version=version)


def free_name(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, with as many underscores behind it as make it free."""
    while wanted in taken:
        wanted += "_"
    return wanted


def strip_incidentals(model: Any) -> None:
    """Take out what does not decide an answer and differs from run to run or from machine to machine."""
    model.doc_string = ""
    model.producer_version = ""
    model.graph.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for item in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        item.doc_string = ""
        del item.metadata_props[:]

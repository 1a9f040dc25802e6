"""int8 and int4: the network part of a version's graph in fewer bits, with the rows of the training part to measure ranges."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from modeltap.bundle.join import join_graphs
from modeltap.compression.graph_parts import GraphParts, take_apart, whole_graph
from modeltap.compression.quantize import (
    FEWEST_TERMS,
    is_recurrent,
    quantize_dynamic,
    quantize_int4,
    quantize_static,
    thin_convolutions,
)
from modeltap.control.compress_spec import CompressSpec
from modeltap.data.text_reading import TEXTS, read_fitted
from modeltap.domain.certificate import Demand, tell_drop
from modeltap.domain.engine import Engine
from modeltap.domain.progress import Progress
from modeltap.domain.signature import Batch, Signature
from modeltap.engines.onnx import OnnxEngine
from modeltap.engines.texts import TextEngine, ids_signature
from modeltap.errors import CannotCompress
from modeltap.runner.judge import run_in_chunks
from modeltap.runner.prepare import PartData
from modeltap.runner.steps import Step
from modeltap.runner.tensor_parent import Child, Parent, rows_of

CALIBRATION_ROWS = 512


def make_int8(step: Step, spec: CompressSpec, parent: Parent) -> Child:
    """Whole numbers throughout, or, where those do not fit or surely lose much, in the weights alone.

    Raises CannotCompress for a network of which neither is known.
    """
    parts = parts_of(parent)
    if TEXTS in parent.bundle.files or is_recurrent(parts.network):
        why = "its steps follow each other" if is_recurrent(parts.network) else "it reads texts of any length"
        return _child(parent, parts, quantize_dynamic(parts.network), "int8 (dynamic)", notes=(f"dynamic, because {why}",))
    calibration = calibration_of(parent, parts)
    step.report(Progress(phase="compress", message="measuring ranges on rows of the training part"))
    static = make_static(parent, parts, calibration)
    step.pause_point()
    return _better(step, spec.demand, parent, parts, static)


def make_static(parent: Parent, parts: GraphParts, calibration: Batch) -> Child:
    """The network in whole numbers, whose ranges are what these rows of the network's inputs give."""
    num = len(next(iter(calibration.values())))
    notes = [f"static: ranges between the layers are those of {num:,} rows of the training part"]
    if thin := len(thin_convolutions(parts.network)):
        told = "1 convolution stays" if thin == 1 else f"{thin} convolutions stay"
        notes.append(f"{told} in float: {FEWEST_TERMS} terms to a sum are the fewest that gain")
    return _child(
        parent,
        parts,
        quantize_static(parts.network, calibration),
        "int8 (static)",
        calibration_digest=_digest(calibration),
        calibration_rows=num,
        notes=tuple(notes),
    )


def make_int4(parent: Parent) -> Child:
    """Raises CannotCompress where most weights are in layers that have no such form."""
    parts = parts_of(parent)
    return _child(parent, parts, quantize_int4(parts.network), "int4")


def parts_of(parent: Parent) -> GraphParts:
    """What stands before the network, and the network."""
    content, inputs = parent.bundle.graph.read_bytes(), _inputs(parent).inputs
    return whole_graph(content, inputs) if parent.is_whole else take_apart(content, inputs, parent.feature_spec())


def calibration_of(parent: Parent, parts: GraphParts) -> Batch:
    """What reaches the network of rows spread over the training part."""
    rows = rows_of(parent.prepared.parts["train"], CALIBRATION_ROWS)
    if parts.features is None:
        return rows
    engine = OnnxEngine(parts.features.SerializeToString(), Signature(_inputs(parent).inputs, parts.between))
    return run_in_chunks(engine.run, rows)


def engine_of(child: Child) -> Engine:
    """What runs the child now; its smallest batch is not measured yet."""
    content = child.graph.SerializeToString(deterministic=True)
    if child.texts is None:
        return OnnxEngine(content, child.signature)
    return TextEngine(child.texts.open(), OnnxEngine(content, ids_signature(child.signature)), child.signature)


def _better(step: Step, demand: Demand, parent: Parent, parts: GraphParts, static: Child) -> Child:
    """The static child, unless it surely loses much on rows that decide nothing later, and the dynamic one loses less."""
    step.report(Progress(phase="compress", message="looking on the validation part how much eight bits throughout lose"))
    rows = _chosen_on(parent)
    lost = parent.drop(parent.answers(engine_of(static), rows), rows)
    if lost.drop <= demand.max_drop / 2 or lost.drop_interval[0] <= 0:
        return static
    step.report(Progress(phase="compress", message="eight bits throughout lose much; trying the weights alone"))
    try:
        dynamic = _child(parent, parts, quantize_dynamic(parts.network), "int8 (dynamic)")
    except CannotCompress:
        return static
    less = parent.drop(parent.answers(engine_of(dynamic), rows), rows)
    if less.drop >= lost.drop:
        return static
    measured = (
        f"static lost {tell_drop(lost.measure, lost.drop)} on the validation part, dynamic {tell_drop(less.measure, less.drop)}"
    )
    return _child(parent, parts, quantize_dynamic(parts.network), "int8 (dynamic)", notes=(f"dynamic, because {measured}",))


def _chosen_on(parent: Parent) -> PartData:
    val = parent.prepared.parts["val"]
    return val if len(val) else parent.prepared.parts["train"]


def _child(parent: Parent, parts: GraphParts, network: Any, method: str, **facts: Any) -> Child:
    manifest = parent.bundle.manifest
    graph = network
    if parts.features is not None:
        graph, _ = join_graphs(
            parts.features, network, inputs=_inputs(parent).inputs, output=manifest.output, labels=manifest.labels
        )
    texts = read_fitted(parent.bundle.files) if TEXTS in parent.bundle.files else None
    return Child(
        graph=graph,
        signature=manifest.signature,
        method=method,
        recipe=parent.recipe,
        schema=manifest.schema,
        texts=texts,
        **facts,
    )


def _inputs(parent: Parent) -> Signature:
    """Of the graph: where texts are read before it, their ids."""
    signature = parent.bundle.manifest.signature
    return ids_signature(signature) if TEXTS in parent.bundle.files else signature


def _digest(calibration: Batch) -> str:
    digest = hashlib.sha256()
    for name in sorted(calibration):
        digest.update(f"{name}{calibration[name].dtype}{calibration[name].shape}".encode())
        digest.update(np.ascontiguousarray(calibration[name]).tobytes())
    return digest.hexdigest()

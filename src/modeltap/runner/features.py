"""Typed rows → what a network is trained on, and the part of the served graph that does the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.data.features import fit_features
from modeltap.data.fitting import FitSettings
from modeltap.data.text_reading import FittedTexts
from modeltap.domain.features import CODES, FEATURES, FeatureBatch, FeatureSpec
from modeltap.domain.recipe import Recipe
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine
from modeltap.recipe.architectures import find_architecture
from modeltap.runner.judge import run_in_chunks
from modeltap.runner.prepare import PartData, Prepared
from modeltap.training.fit import TrainingData


@dataclass(frozen=True)
class Featured:
    """`graph` is an onnx.ModelProto: `graph_inputs` → FEATURES and CODES. `inputs` are those that a row becomes."""

    graph: Any
    graph_inputs: tuple[TensorSpec, ...]
    inputs: tuple[TensorSpec, ...]
    spec: FeatureSpec
    data: TrainingData
    notices: tuple[str, ...] = ()
    texts: FittedTexts | None = None
    """How the bundle reads texts; then `graph_inputs` are ids."""
    start: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Weights that the network begins with."""


def table_features(prepared: Prepared, recipe: Recipe) -> tuple[Prepared, Featured]:
    """Features of a table, of pictures or of arrays; columns that preprocessing left out are ignored in a row, too."""
    architecture = find_architecture(recipe.model.architecture)
    rows = prepared.parts["train"]
    settings = FitSettings(
        transforms=recipe.data.transforms,
        clean=recipe.data.clean,
        trees=architecture.family == "boosting",
        auto_categories=architecture.categories,
        tokens=starts_with_embedding(recipe),
    )
    fitted = fit_features(prepared.schema, rows.columns, rows.target, settings)
    used = {spec.name for spec in fitted.inputs}
    columns = tuple(
        msgspec.structs.replace(c, role="ignored") if c.role == "feature" and c.name not in used else c
        for c in prepared.schema.columns
    )
    data = compute_features(prepared, fitted.graph, fitted.inputs, fitted.spec)
    featured = Featured(fitted.graph, fitted.inputs, fitted.inputs, fitted.spec, data, fitted.notices)
    return replace(prepared, schema=msgspec.structs.replace(prepared.schema, columns=columns)), featured


def starts_with_embedding(recipe: Recipe) -> bool:
    """Whether the rows of the recipe's network are tokens."""
    layers = recipe.model.options.get("layers")
    first = layers[0] if isinstance(layers, list | tuple) and layers else None
    return isinstance(first, Mapping) and "embedding" in first


def compute_features(prepared: Prepared, graph: Any, inputs: tuple[TensorSpec, ...], spec: FeatureSpec) -> TrainingData:
    """What the preprocessing graph makes of the training and the validation part."""
    outputs = []
    if spec.shape:
        outputs.append(TensorSpec(FEATURES, "FP32", (-1, *spec.shape)))
    if spec.cardinalities:
        outputs.append(TensorSpec(CODES, "INT64", (-1, len(spec.cardinalities))))
    engine = OnnxEngine(graph.SerializeToString(), Signature(inputs, tuple(outputs)))

    def batch(part: PartData) -> FeatureBatch:
        if not len(part):
            codes = np.empty((0, len(spec.cardinalities)), dtype=np.int64) if spec.cardinalities else None
            return FeatureBatch(features=np.empty((0, *spec.shape), dtype=np.float32), codes=codes)
        given = run_in_chunks(engine.run, part.columns)
        nothing = np.empty((len(part), 0), dtype=np.float32)
        return FeatureBatch(features=given.get(FEATURES, nothing), codes=given.get(CODES))  # type: ignore[arg-type]

    train_part, val_part = prepared.parts["train"], prepared.parts["val"]
    return TrainingData(
        train=batch(train_part), train_target=train_part.target, val=batch(val_part), val_target=val_part.target
    )

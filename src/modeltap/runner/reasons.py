"""What a report says of why: which columns a table's model needs, and where a network looks in pictures.

Letters: N rows, C classes.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.bundle.golden import Run
from modeltap.domain.features import FEATURES
from modeltap.domain.model import Manifest
from modeltap.domain.signature import Array, Batch, Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine
from modeltap.errors import MissingExtra
from modeltap.evaluation.report import PictureShown
from modeltap.evaluation.result import ColumnImportance, Evaluation
from modeltap.explain.gradients import grad_cam, integrated_gradients
from modeltap.explain.importance import permutation_importance
from modeltap.explain.overlay import overlay_png
from modeltap.explain.plan import form_of
from modeltap.runner.features import Featured
from modeltap.runner.judge import run_in_chunks
from modeltap.runner.prepare import PartData
from modeltap.training.trained import Trained

LOOKED_AT = 256
"""Pictures among which those to show are chosen."""
SHOWN_RIGHT = SHOWN_WRONG = 4


def with_importance(evaluation: Evaluation, run: Run, manifest: Manifest, part: PartData, *, seed: int) -> Evaluation:
    """The evaluation with what each column of a table is worth; as it was for pictures and texts."""
    if form_of(manifest) != "table":
        return evaluation
    metric = "accuracy" if manifest.labels else "rmse"

    def badness(outputs: Batch, rows_N: NDArray[np.int64]) -> float:
        answer: Any = outputs[manifest.output]
        truth = part.target[rows_N]
        if manifest.labels:
            return float(np.mean(answer.argmax(axis=1) != truth))
        return float(np.sqrt(np.mean((answer.astype(np.float64) - truth) ** 2)))

    found = permutation_importance(
        manifest.schema.features, part.columns, lambda rows: run_in_chunks(run, rows), badness, seed=seed
    )
    told = [ColumnImportance(column=one.column, metric=metric, loss=one.loss, spread=one.spread) for one in found]
    return msgspec.structs.replace(evaluation, importance=told)


def explained_pictures(
    manifest: Manifest, part: PartData, run: Run, featured: Featured, trained: Trained
) -> list[PictureShown]:
    """Some pictures that are answered rightly, and the surest mistakes, with what the network looked at; none for other
    models, and where captum is not installed."""
    if form_of(manifest) != "picture" or not manifest.labels or not trained.weights or not len(part):
        return []
    (column,) = manifest.schema.features
    pixels = part.columns[column.name][:LOOKED_AT]
    answers: Any = run_in_chunks(run, {column.name: pixels})[manifest.output]
    chosen = chosen_rows(answers, part.target[: len(pixels)])
    features = _features(featured, {column.name: pixels[chosen]})
    predicted = answers[chosen].argmax(axis=1).astype(np.int64)
    from modeltap.training.building import build_again

    module = build_again(trained.architecture, trained.weights)
    try:
        views = {"Grad-CAM": grad_cam(module, features, predicted)}
        views["integrated gradients"] = integrated_gradients(module, features, predicted)
    except MissingExtra:
        return []
    shown = []
    for place, row in enumerate(chosen.tolist()):
        flat = np.zeros(pixels[row].shape[:2])
        heats = {"picture": flat, **{name: heat[place] for name, heat in views.items() if heat is not None}}
        shown.append(
            PictureShown(
                predicted=manifest.labels[predicted[place]],
                actual=manifest.labels[int(part.target[row])],
                score=float(answers[row].max()),
                views={name: base64.b64encode(overlay_png(pixels[row], heat)).decode() for name, heat in heats.items()},
            )
        )
    return shown


def chosen_rows(prob_NC: Array, label_N: Any) -> NDArray[np.int64]:
    """The rows to show: the first that is right of each of some classes, then the mistakes that were made most surely."""
    prob: Any = prob_NC
    predicted_N = prob.argmax(axis=1)
    right = np.flatnonzero(predicted_N == label_N)
    _, first = np.unique(label_N[right], return_index=True)
    wrong = np.flatnonzero(predicted_N != label_N)
    surest = wrong[np.argsort(-prob[wrong].max(axis=1), kind="stable")]
    return np.concatenate([right[np.sort(first)][:SHOWN_RIGHT], surest[:SHOWN_WRONG]]).astype(np.int64)


def _features(featured: Featured, rows: Batch) -> NDArray[np.float32]:
    output = TensorSpec(FEATURES, "FP32", (-1, *featured.spec.shape))
    engine = OnnxEngine(featured.graph.SerializeToString(), Signature(featured.graph_inputs, (output,)))
    try:
        features: Any = engine.run(rows)[FEATURES]
        return np.asarray(features, dtype=np.float32)
    finally:
        engine.close()

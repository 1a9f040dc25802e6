"""What an evaluation says, as one JSON-ready value: metrics with intervals, by class, by slice, and points to plot."""

# Letters: N samples, C classes.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from modeltap.errors import InvalidValue
from modeltap.evaluation.arrays import Floats, Ints
from modeltap.evaluation.classification import (
    class_scores,
    confusion_matrix,
    count_classes,
    label_metrics,
    probability_metrics,
)
from modeltap.evaluation.curves import Curves, classification_curves, regression_curves
from modeltap.evaluation.intervals import Intervals, confusion_intervals, probability_intervals, regression_intervals
from modeltap.evaluation.regression import regression_metrics
from modeltap.evaluation.resampling import MAX_ROW_DRAWS
from modeltap.evaluation.slices import SliceColumns, slice_rows

Metrics = dict[str, float | None]

CLASS_SLICE_METRICS = ("accuracy", "f1_macro")
NUMBER_SLICE_METRICS = ("rmse", "mae", "r2")
SUM_TOLERANCE = 0.02


class ClassResult(msgspec.Struct, frozen=True, kw_only=True):
    """How well one class is found; None where undefined. `support` is its number of rows."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    intervals: Intervals


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of rows: matrix[actual][predicted], in the order of the labels."""

    labels: list[str]
    matrix: list[list[int]]


class SliceResult(msgspec.Struct, frozen=True, kw_only=True):
    column: str
    value: str
    num_rows: int
    metrics: Metrics
    intervals: Intervals


class ColumnImportance(msgspec.Struct, frozen=True, kw_only=True):
    """`loss`: by how much the metric is worse where the column is shuffled, so that it says nothing; `spread`: the standard
    deviation over several shuffles. The metric is that of all rows."""

    column: str
    metric: str
    loss: float
    spread: float


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt, and what the model wrote after it."""

    prompt: str
    text: str


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """`intervals` has the keys of `metrics`; None is a metric that is undefined on these rows. Holds no NaN."""

    kind: Literal["classification", "regression", "generation"]
    num_rows: int
    metrics: Metrics
    intervals: Intervals
    per_class: list[ClassResult] = []
    confusion: Confusion | None = None
    slices: list[SliceResult] = []
    curves: Curves = Curves()
    written: list[Written] = []
    importance: list[ColumnImportance] = []
    """Of a table's columns, the most important first."""


def evaluate_classification(
    prob_NC: ArrayLike,
    label_N: ArrayLike,
    *,
    labels: Sequence[str],
    columns: SliceColumns | None = None,
    slice_by: Sequence[str] = (),
    seed: int = 0,
) -> Evaluation:
    """Metrics of class probabilities against the actual classes; the predicted label is the first of the most probable.

    prob_NC: rows sum to 1, N >= 1. label_N: int codes in [0, C), of `labels`. Equal arguments give equal bytes.
    Raises InvalidValue if the arrays do not fit each other, or hold what is no probability.
    """
    prob_NC = _floats("prob_NC", prob_NC)
    codes_N = _checked_codes(prob_NC, np.asarray(label_N), num_classes=len(labels))
    predicted_N = prob_NC.argmax(axis=1)
    confusion_CC = confusion_matrix(codes_N, predicted_N, num_classes=len(labels))
    counts = count_classes(confusion_CC)
    intervals, class_intervals = confusion_intervals(confusion_CC, seed=seed)
    scores = class_scores(counts)
    slices = []
    for column, groups in slice_rows(columns, slice_by, num_rows=len(codes_N)).items():
        for value, row_M in groups:
            part_CC = confusion_matrix(codes_N[row_M], predicted_N[row_M], num_classes=len(labels))
            part_intervals, _ = confusion_intervals(part_CC, seed=seed)
            part = _metrics(label_metrics(count_classes(part_CC)))
            slices.append(_slice(column, value, len(row_M), part, part_intervals, CLASS_SLICE_METRICS))
    return Evaluation(
        kind="classification",
        num_rows=len(codes_N),
        metrics=_metrics(label_metrics(counts)) | _metrics(probability_metrics(prob_NC, codes_N)),
        intervals=intervals | probability_intervals(prob_NC, codes_N, seed=seed),
        per_class=[
            ClassResult(
                label=label,
                precision=_defined(scores.precision[c]),
                recall=_defined(scores.recall[c]),
                f1=_defined(scores.f1[c]),
                support=int(counts.actual[c]),
                intervals=class_intervals[c],
            )
            for c, label in enumerate(labels)
        ],
        confusion=Confusion(labels=list(labels), matrix=confusion_CC.tolist()),
        slices=slices,
        curves=classification_curves(prob_NC, codes_N, list(labels)),
    )


def evaluate_regression(
    value_N: ArrayLike,
    target_N: ArrayLike,
    *,
    columns: SliceColumns | None = None,
    slice_by: Sequence[str] = (),
    seed: int = 0,
) -> Evaluation:
    """Metrics of predicted numbers against the actual ones, N >= 1. Equal arguments give equal bytes.

    Raises InvalidValue if the two do not have the same shape (N,) or hold what is no finite number.
    """
    predicted_N = _floats("value_N", value_N).astype(np.float64)
    actual_N = _floats("target_N", target_N).astype(np.float64)
    if predicted_N.ndim != 1 or predicted_N.shape != actual_N.shape or not len(predicted_N):
        raise InvalidValue(
            f"predictions of shape {predicted_N.shape} do not fit targets of shape {actual_N.shape};"
            " give one number a row in both, and at least one row"
        )
    slices = []
    with np.errstate(over="ignore", invalid="ignore"):
        for column, groups in slice_rows(columns, slice_by, num_rows=len(actual_N)).items():
            max_draws = MAX_ROW_DRAWS // len(groups)
            for value, row_M in groups:
                pair = predicted_N[row_M], actual_N[row_M]
                part = _metrics(regression_metrics(*pair))
                part_intervals = regression_intervals(*pair, seed=seed, max_draws=max_draws)
                slices.append(_slice(column, value, len(row_M), part, part_intervals, NUMBER_SLICE_METRICS))
        return Evaluation(
            kind="regression",
            num_rows=len(actual_N),
            metrics=_metrics(regression_metrics(predicted_N, actual_N)),
            intervals=regression_intervals(predicted_N, actual_N, seed=seed),
            slices=slices,
            curves=regression_curves(predicted_N, actual_N, seed=seed),
        )


def flat_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Metric → value, with `<metric>_interval` ([low, high]) beside it, as a manifest holds them."""
    flat: dict[str, Any] = {}
    for name, metric in evaluation.metrics.items():
        bounds = evaluation.intervals[name]
        flat[name] = metric
        flat[f"{name}_interval"] = None if bounds is None else list(bounds)
    return flat


def _slice(column: str, value: str, num_rows: int, metrics: Metrics, intervals: Intervals, names: Sequence[str]) -> SliceResult:
    return SliceResult(
        column=column,
        value=value,
        num_rows=num_rows,
        metrics={name: metrics[name] for name in names},
        intervals={name: intervals[name] for name in names},
    )


def _metrics(values: Mapping[str, Floats | float]) -> Metrics:
    return {name: _defined(value) for name, value in values.items()}


def _defined(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _floats(name: str, values: ArrayLike) -> NDArray[np.floating]:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).reshape(len(array), -1).any(axis=1).sum())
        raise InvalidValue(
            f"{name} is not a finite number in {bad:,} of {len(array):,} rows; a model that diverged in training"
            " gives such answers: lower its learning rate, or clip its gradient"
        )
    return array


def _checked_codes(prob_NC: NDArray[np.floating], label_N: NDArray[Any], *, num_classes: int) -> Ints:
    if prob_NC.ndim != 2 or label_N.shape != prob_NC.shape[:1] or prob_NC.shape[1] != num_classes or not prob_NC.size:
        raise InvalidValue(
            f"probabilities of shape {prob_NC.shape} do not fit {label_N.size:,} rows and {num_classes:,} labels;"
            " give one row of probabilities for each actual class, one column for each label, and at least one row"
        )
    if not np.issubdtype(label_N.dtype, np.integer) or label_N.min() < 0 or label_N.max() >= num_classes:
        raise InvalidValue(f"actual classes must be whole numbers from 0 to {num_classes - 1}, the codes of the labels")
    if prob_NC.min() < -SUM_TOLERANCE or np.abs(prob_NC.sum(axis=1, dtype=np.float64) - 1).max() > SUM_TOLERANCE:
        raise InvalidValue("probabilities must be 0 or more and sum to 1 in each row; does the model end in a softmax?")
    return label_N.astype(np.int64)

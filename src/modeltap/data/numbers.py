"""Numbers and booleans → features: impute, mark as missing, clip, log, scale; computed in 64 bits, handed on in 32.

Letters: N rows, F columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.data.fitting import FitSettings, Group
from modeltap.data.graph import GraphWriter
from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch

LARGEST = float(np.finfo(np.float32).max)
FARTHEST = 1e6
"""Deviations (or ranges) from the mean at which a scaled number ends. No training row is as far out, unless there are 1e12 of
them; in a network, larger ones would become infinite and its answer no number."""
TINY, HUGE = 1e-30, 1e100
"""Columns of smaller or larger numbers are scaled by a power of two first. ONNX Runtime 1.31 takes the subtraction of a single
constant under 1e-45 for one of nothing, and leaves it out."""


def fit_numbers(writer: GraphWriter, chosen: list[tuple[str, Column]], batch: Batch, settings: FitSettings) -> list[Group]:
    """One group for each transform in use, and one of missing-value marks for networks."""
    groups: list[Group] = []
    for transform in dict.fromkeys(name for name, _ in chosen):
        columns = [c for name, c in chosen if name == transform]
        groups += fit_number_group(
            writer,
            transform=transform,
            names=tuple(c.name for c in columns),
            tensor=stack(writer, [c.name for c in columns]),
            values_NF=np.stack([np.asarray(batch[c.name], dtype=np.float64) for c in columns], axis=1),
            boolean_F=np.array([c.kind == "boolean" for c in columns]),
            settings=settings,
        )
    return groups


def stack(writer: GraphWriter, tensors: list[str]) -> str:
    """(N,) tensors side by side: (N, F)."""
    axis = writer.constant([1], np.int64)
    columns = [writer.node("Unsqueeze", [name, axis]) for name in tensors]
    return columns[0] if len(columns) == 1 else writer.node("Concat", columns, axis=1)


def fit_number_group(
    writer: GraphWriter,
    *,
    transform: str,
    names: tuple[str, ...],
    tensor: str,
    values_NF: NDArray[np.float64],
    boolean_F: NDArray[np.bool_],
    settings: FitSettings,
) -> list[Group]:
    """Features of the float64 tensor (N, F), fitted to `values_NF`; NaN is missing.

    Networks get the median (of a boolean: the more frequent value) for a missing one, and a 0/1 mark beside each column
    that missed one in training. Trees get NaN, which they split on by themselves.
    """
    marks: list[Group] = []
    if not settings.trees:
        missing = writer.node("IsNaN", [tensor])
        fill_F = _fill_values(values_NF, boolean_F)
        tensor = writer.node("Where", [missing, writer.constant(fill_F[None, :], np.float64), tensor])
        seen_F = np.any(np.isnan(values_NF), axis=0)
        if bool(seen_F.any()):
            wanted = writer.constant(np.flatnonzero(seen_F), np.int64)
            mark = writer.cast(writer.node("Gather", [missing, wanted], axis=1), "FP32")
            marks = [Group(mark, tuple(f"{name}:missing" for name, m in zip(names, seen_F.tolist(), strict=True) if m))]
        values_NF = np.where(np.isnan(values_NF), fill_F, values_NF)
    if settings.clean.outliers == "clip":
        low_F, high_F = _clip_bounds(values_NF, settings.clean.outlier_quantiles, boolean_F)
        tensor = bound(writer, tensor, low_F, high_F)
        values_NF = np.clip(values_NF, low_F, high_F)
    if transform == "log":
        magnitude = writer.node("Add", [writer.node("Abs", [tensor]), writer.constant(1.0, np.float64)])
        tensor = writer.node("Mul", [writer.node("Sign", [tensor]), writer.node("Log", [magnitude])])
        values_NF = np.sign(values_NF) * np.log1p(np.abs(values_NF))
    if transform != "none":
        tensor = scale(writer, tensor, values_NF, transform)
    return [Group(narrow(writer, tensor), names), *marks]


def scale(writer: GraphWriter, tensor: str, values_NF: NDArray[np.float64], transform: str) -> str:
    """(x - mean) / deviation, or (x - min) / range for min-max, for a tensor (N, *shape) fitted to `values_NF` of that shape.

    What is constant in training becomes 0, whatever it is in serving: a weight that nothing was fitted to would be noise.
    """
    known_NF = np.ma.masked_invalid(values_NF)
    unit_F = _units(known_NF)
    known_NF = known_NF / unit_F
    low_F, high_F = known_NF.min(axis=0), known_NF.max(axis=0)
    constant_F = np.ma.filled(low_F, 0.0) == np.ma.filled(high_F, 0.0)  # their deviation may be rounded to 1e-17
    if transform == "min-max":
        shift_F, span_F = low_F, high_F - low_F
    else:
        shift_F, span_F = known_NF.mean(axis=0), known_NF.std(axis=0)
    shift_F, span_F = np.ma.filled(shift_F, 0.0), np.ma.filled(span_F, 0.0)
    span_F = np.where(constant_F | (span_F <= 0), np.inf, span_F)
    if (unit_F != 1).any():
        tensor = writer.node("Div", [tensor, writer.constant(unit_F[None], np.float64)])
        tensor = bound(writer, tensor, np.array(-HUGE), np.array(HUGE))
    shifted = writer.node("Sub", [tensor, writer.constant(shift_F[None], np.float64)])
    scaled = writer.node("Div", [shifted, writer.constant(span_F[None], np.float64)])
    return bound(writer, scaled, np.array(-FARTHEST), np.array(FARTHEST))


def _units(known_NF: Any) -> NDArray[np.float64]:
    """1 for each column, or a power of two where its numbers are so huge that their sums have no 64-bit number, or so tiny that
    32 bits do not tell them from 0."""
    largest_F = np.ma.filled(np.abs(known_NF).max(axis=0), 0.0)
    extreme_F = (largest_F > HUGE) | ((largest_F > 0) & (largest_F < TINY))
    return np.where(extreme_F, np.exp2(np.floor(np.log2(np.where(extreme_F, largest_F, 1.0)))), 1.0)


def narrow(writer: GraphWriter, tensor: str) -> str:
    """The float64 tensor in 32 bits; what 32 bits cannot hold becomes their largest number instead of infinity."""
    return writer.cast(bound(writer, tensor, np.array(-LARGEST), np.array(LARGEST)), "FP32")


def bound(writer: GraphWriter, tensor: str, low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    """Every value within [low, high]; NaN stays, which Min and Max do not promise."""
    low_name, high_name = (
        writer.constant(np.atleast_1d(low), np.float64),
        writer.constant(np.atleast_1d(high), np.float64),
    )
    tensor = writer.node("Where", [writer.node("Less", [tensor, low_name]), low_name, tensor])
    return writer.node("Where", [writer.node("Greater", [tensor, high_name]), high_name, tensor])


def _fill_values(values_NF: NDArray[np.float64], boolean_F: NDArray[np.bool_]) -> NDArray[np.float64]:
    fill_F = np.zeros(values_NF.shape[1])
    for f, column_N in enumerate(values_NF.T):
        known_N = column_N[~np.isnan(column_N)]
        if len(known_N):
            fill_F[f] = float(known_N.mean() > 0.5) if boolean_F[f] else _median(known_N)
    return fill_F


def _median(known_N: NDArray[np.float64]) -> float:
    """Halved before it is taken, since the two numbers in the middle may have an infinite sum."""
    return float(np.median(known_N)) if np.abs(known_N).max() < HUGE else float(np.median(known_N / 2) * 2)


def _clip_bounds(
    values_NF: NDArray[np.float64], quantiles: tuple[float, float], boolean_F: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low_F = np.full(values_NF.shape[1], -np.inf)
    high_F = np.full(values_NF.shape[1], np.inf)
    for f, column_N in enumerate(values_NF.T):
        known_N = column_N[~np.isnan(column_N)]
        if len(known_N) and not boolean_F[f]:
            low_F[f], high_F[f] = np.quantile(known_N, quantiles)
    return low_F, high_F

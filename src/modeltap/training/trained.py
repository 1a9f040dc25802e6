"""What training takes and gives.

Letters: N samples, C classes, K columns of codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from numpy.typing import NDArray

from modeltap.domain.architecture import Architecture, Options
from modeltap.domain.features import FeatureBatch, FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.recipe.architectures import render_options

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class TrainingData:
    """Targets are int64 class codes or float64 values, (N,). `val` may hold no rows; then there is no early stopping."""

    train: FeatureBatch
    train_target: NDArray[Any]
    val: FeatureBatch
    val_target: NDArray[Any]


@dataclass(frozen=True)
class Trained:
    graph: onnx.ModelProto
    """Inputs FEATURES float32 (N, *shape) and CODES int64 (N, K), as the spec has them; output `prediction`, float32: (N, C)
    probabilities or (N,) values in raw units."""
    weights: dict[str, NDArray[Any]]
    """By their names in the module; empty for boosting."""
    architecture: dict[str, Any]
    """JSON: what is needed to build the module again."""
    history: list[dict[str, Any]]
    """An entry an epoch (or iteration): epoch, train_loss, val_loss, val_accuracy or val_rmse, lr."""
    best_epoch: int | None
    """The epoch whose weights were kept; None is the last."""


@dataclass(frozen=True)
class Assignment:
    """Everything one training run is told. `labels` is empty for a regression."""

    recipe: Recipe
    spec: FeatureSpec
    data: TrainingData
    labels: Sequence[str]
    threads: int
    workdir: Path
    report: Callable[[Progress], None]
    stop_requested: Callable[[], bool]
    checkpoint_every_s: float
    saved: Callable[[], None] = lambda: None
    start: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Weights that a network begins with, by their names in the module; the others are drawn."""

    @property
    def num_outputs(self) -> int:
        return len(self.labels) or 1

    @property
    def metric_name(self) -> str:
        return "accuracy" if self.labels else "rmse"


def describe(
    architecture: Architecture,
    options: Options,
    spec: FeatureSpec,
    num_outputs: int,
    *,
    target: dict[str, float] | None,
) -> dict[str, Any]:
    """JSON for `Trained.architecture`; `target` is the mean and std that a network's values are scaled by."""
    return {
        "architecture": architecture.name,
        "options": render_options(options),
        "features": msgspec.to_builtins(spec),
        "num_outputs": num_outputs,
        "target": target,
    }

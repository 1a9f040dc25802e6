"""What training takes and gives.

Letters: N samples, C classes, K columns of codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.domain.architecture import Architecture, Options
from modeltap.domain.features import FeatureBatch, FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.domain.search import Tried
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
    tried: tuple[Tried, ...] = ()
    """Of a search: every candidate, and beside it the seconds that it took."""
    seconds: tuple[float, ...] = ()
    val_answer: NDArray[np.float32] | None = None
    """Of a search in folds, which learn from the validation rows too: what those answer to each of them that did not."""
    notices: tuple[str, ...] = ()
    """What a person should know of how it was trained."""


@dataclass(frozen=True)
class Watched:
    """A metric on the validation part after every epoch, instead of the task's own."""

    name: str
    measure: Callable[[NDArray[Any], NDArray[Any]], float]
    """(N, C) probabilities or (N,) values in raw units, and the targets → the metric; NaN where it is undefined."""


@dataclass(frozen=True)
class Teacher:
    """What another model answers to the training rows: (N, C) probabilities or (N,) values in raw units."""

    answer: NDArray[Any]
    temperature: float
    """What its logits, and the learner's beside them, are divided by."""
    alpha: float
    """Its share of the loss."""


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
    time_up: Callable[[], bool] = lambda: False
    """Asked while trees grow: where it says yes, those that grew so far are all."""
    teacher: Teacher | None = None
    keeps_zeros: bool = False
    """Weights that the network begins with and that are 0 stay so."""
    watched: Watched | None = None

    @property
    def num_outputs(self) -> int:
        return len(self.labels) or 1

    @property
    def metric_name(self) -> str:
        if self.watched is not None:
            return self.watched.name
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

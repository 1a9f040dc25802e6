"""Training runs on small made-up data, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from modeltap.domain.features import FeatureBatch, FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.training.trained import Assignment, TrainingData

NUM_ROWS = 101
RANK = "modeltap.training.rank"


def ignore(_: Progress) -> None:
    """Nobody watches."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


def ranks_here() -> list[psutil.Process]:
    """Training processes that this one started and that live."""
    found = psutil.Process().children()
    return [child for child in found if child.status() != psutil.STATUS_ZOMBIE and RANK in child.cmdline()]


def make_recipe(architecture: str, options: dict[str, Any], **keys: Any) -> Recipe:
    model = {"architecture": architecture, "options": options, **keys.pop("model", {})}
    return msgspec.convert({"task": "tabular-classification", "model": model, **keys}, Recipe)


def make_data(spec: FeatureSpec, *, labels: Sequence[str], seed: int = 0, rows: int = NUM_ROWS) -> TrainingData:
    """Rows whose target follows from their features; a fifth of them once more as the validation part."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(rows, *spec.shape)).astype(np.float32) if spec.shape else np.zeros((rows, 0), np.float32)
    codes = None
    score = features.reshape(rows, -1)[:, :2].sum(1) if spec.shape else np.zeros(rows)
    if spec.cardinalities:
        codes = np.stack([draw.integers(0, size, rows) for size in spec.cardinalities], axis=1)
        score = score + codes[:, 0] - codes[:, 0].mean()
    if labels:
        edges = np.quantile(score, np.linspace(0, 1, len(labels) + 1)[1:-1])
        target = np.searchsorted(edges, score).astype(np.int64)
    else:
        target = 1000.0 + 50.0 * score
    fifth = slice(0, rows // 5)
    return TrainingData(
        train=FeatureBatch(features=features, codes=codes),
        train_target=target,
        val=FeatureBatch(features=features[fifth], codes=None if codes is None else codes[fifth]),
        val_target=target[fifth],
    )


def assign(
    recipe: Recipe,
    spec: FeatureSpec,
    workdir: Path,
    *,
    labels: Sequence[str] = ("a", "b", "c"),
    data: TrainingData | None = None,
    report: Callable[[Progress], None] = ignore,
    stop_requested: Callable[[], bool] = never,
    checkpoint_every_s: float = 10.0,
    saved: Callable[[], None] = lambda: None,
) -> Assignment:
    return Assignment(
        recipe=recipe,
        spec=spec,
        data=data or make_data(spec, labels=labels),
        labels=labels,
        threads=1,
        workdir=workdir,
        report=report,
        stop_requested=stop_requested,
        checkpoint_every_s=checkpoint_every_s,
        saved=saved,
    )

"""The way into this room: a recipe and features → a trained graph. Imports no torch before it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.architecture import Architecture
from modeltap.domain.features import FeatureBatch, FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidData, MissingExtra
from modeltap.recipe.architectures import find_architecture
from modeltap.training.stopped import Stopped
from modeltap.training.trained import Assignment, Teacher, Trained, TrainingData

__all__ = ["Stopped", "Teacher", "Trained", "TrainingData", "fit", "fit_texts"]

CHECKPOINT_EVERY_S = 10.0


def fit(
    recipe: Recipe,
    spec: FeatureSpec,
    data: TrainingData,
    *,
    labels: Sequence[str],
    threads: int,
    workdir: Path,
    report: Callable[[Progress], None],
    stop_requested: Callable[[], bool],
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    saved: Callable[[], None] = lambda: None,
    start: Mapping[str, NDArray[Any]] | None = None,
    teacher: Teacher | None = None,
    keeps_zeros: bool = False,
) -> Trained:
    """The trained graph with its weights and learning curve; the same bytes for the same arguments, threads included.

    recipe: with a resolved `model.architecture`. labels: of the class codes in their order; empty is a regression. workdir:
    holds the checkpoint, from which a run with the same arguments goes on. report: called a few times a second.
    stop_requested: asked before every step, so it must be cheap; when it says yes, a checkpoint is written and Stopped raised.
    saved: called after each checkpoint that lies beyond the one from which the run went on. start: weights that a network
    begins with, by their names; of those, with `keeps_zeros`, what is 0 stays 0. teacher: whose answers a network learns too.

    Raises InvalidRecipe and InvalidData for what cannot be trained, Stopped, StorageFailed if the disk refuses a checkpoint,
    MissingExtra if torch or scikit-learn is not installed, Broken if the graph does not repeat the model's answers, RanksLost
    if the processes that should train together die again and again.
    """
    _check(spec, data, labels)
    architecture = find_architecture(recipe.model.architecture)
    given = Assignment(
        recipe,
        spec,
        data,
        labels,
        threads,
        workdir,
        report,
        stop_requested,
        checkpoint_every_s,
        saved,
        start or {},
        teacher=teacher,
        keeps_zeros=keeps_zeros,
    )
    return _fitter(architecture, is_shared=_is_shared(given))(given, architecture)


def fit_texts(
    recipe: Recipe,
    spec: FeatureSpec,
    data: TrainingData,
    *,
    are_pairs: bool,
    threads: int,
    workdir: Path,
    report: Callable[[Progress], None],
    stop_requested: Callable[[], bool],
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    saved: Callable[[], None] = lambda: None,
    start: Mapping[str, NDArray[Any]] | None = None,
) -> Trained:
    """A sentence encoder: as `fit`, of texts, or of pairs whose ids stand beside each other. The targets say nothing."""
    _check(spec, data, ())
    given = Assignment(recipe, spec, data, (), threads, workdir, report, stop_requested, checkpoint_every_s, saved, start or {})
    try:
        from modeltap.training.contrastive import fit_sentences
    except ModuleNotFoundError as problem:
        raise MissingExtra(what=str(problem.name), extra="train") from problem
    return fit_sentences(given, find_architecture(recipe.model.architecture), are_pairs=are_pairs)


def _is_shared(given: Assignment) -> bool:
    """Whether several processes train; what is taught or watched besides the recipe stays in this one."""
    alone = given.teacher is not None or given.keeps_zeros or given.watched is not None
    return given.recipe.distributed.processes > 1 and not alone


def _fitter(architecture: Architecture, *, is_shared: bool) -> Callable[[Assignment, Architecture], Trained]:
    try:
        if architecture.family == "boosting":
            from modeltap.training.boosting import fit_boosting

            return fit_boosting
        if is_shared:
            from modeltap.training.shared_network import fit_distributed

            return fit_distributed
        from modeltap.training.network import fit_network
    except ModuleNotFoundError as problem:
        raise MissingExtra(what=str(problem.name), extra="train") from problem
    return fit_network


def _check(spec: FeatureSpec, data: TrainingData, labels: Sequence[str]) -> None:
    for part, batch, target in (("train", data.train, data.train_target), ("val", data.val, data.val_target)):
        if len(batch) != len(target):
            raise InvalidData(f"the {part} part has {len(batch)} rows and {len(target)} targets")
        _check_codes(part, batch, spec)
        if labels and len(target) and not (int(target.min()) >= 0 and int(target.max()) < len(labels)):
            raise InvalidData(f"the {part} part has class codes outside 0 to {len(labels) - 1}")
    if not len(data.train):
        raise InvalidData("the training part holds no rows")
    if len(labels) == 1:
        raise InvalidData(f"there is only one class, '{labels[0]}'; a classifier needs two or more")


def _check_codes(part: str, batch: FeatureBatch, spec: FeatureSpec) -> None:
    if not spec.cardinalities:
        return
    if batch.codes is None or batch.codes.shape != (len(batch), len(spec.cardinalities)):
        raise InvalidData(f"the {part} part needs codes of {len(spec.cardinalities)} columns")
    if len(batch) and ((batch.codes < 0) | (batch.codes >= np.array(spec.cardinalities))).any():
        raise InvalidData(f"the {part} part has codes outside their cardinalities")

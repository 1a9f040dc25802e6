"""A search over architectures for a table: the candidates' features, the blend's graph, and what was tried."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from modeltap.bundle.blend import views_graph
from modeltap.control.trainings import TrainSpec
from modeltap.domain.recipe import Recipe
from modeltap.domain.search import Tried
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import find_architecture, parse_options
from modeltap.recipe.auto_architecture import AutoOptions
from modeltap.runner.features import Featured, table_features
from modeltap.runner.prepare import Prepared
from modeltap.runner.steps import Step
from modeltap.training.auto import FOLDER, Search
from modeltap.training.auto_candidate import Candidate, Terms, View
from modeltap.training.auto_portfolio import num_folds, portfolio
from modeltap.training.auto_rounds import Rounds, plan_rounds
from modeltap.training.class_weights import class_weights
from modeltap.training.trained import Trained


def search_table(
    step: Step, spec: TrainSpec, recipe: Recipe, prepared: Prepared, *, began_s: float
) -> tuple[Prepared, Featured, Trained]:
    """As `table_features` and `fit` together. began_s: when the time budget began, on the monotonic clock."""
    options = parse_options(find_architecture(recipe.model.architecture), recipe.model.options)
    assert isinstance(options, AutoOptions)
    train_target, val_target = prepared.parts["train"].target, prepared.parts["val"].target
    all_target = np.concatenate([train_target, val_target])
    folds = num_folds(recipe, all_target, is_class=bool(prepared.labels))
    rounds = plan_rounds(all_target, folds=folds, is_class=bool(prepared.labels), seed=recipe.seed)
    if folds == 1 and not len(val_target):
        raise InvalidRecipe(
            "'auto' judges its candidates on a validation part where rows are many, stand in groups or times, or nearly all"
            " are of one class; set data.split.val"
        )
    features = Features(prepared, rounds)
    target_J = val_target if folds == 1 else all_target
    found = Search(
        portfolio(recipe, options, num_rows=len(all_target)),
        options,
        Terms(
            labels=prepared.labels,
            threads=recipe.threads or 1,
            rounds=rounds,
            checkpoint_every_s=spec.checkpoint_every_s,
            saved=step.saved,
            clock=time.monotonic,
            work_clock=time.process_time,
        ),
        features.open,
        target_J=target_J,
        weight_J=_row_weights(recipe, prepared.labels, train_target, target_J),
        loss=recipe.loss.name,
        began_s=began_s,
        workdir=step.workdir,
        report=step.report,
        stop_requested=step.stop_requested,
    ).run()
    step.discard.extend(sorted((step.workdir / FOLDER).glob("*/finished.safetensors")))
    trained = Trained(
        graph=found.graph,
        weights={},
        architecture={},
        history=found.history,
        best_epoch=found.best_epoch,
        val_answer=None if folds == 1 else found.answer[len(train_target) :],
        tried=found.tried,
        seconds=found.seconds,
        notices=found.notices,
    )
    return features.prepared, features.of_views(found.views), trained


def candidate_table(tried: Sequence[Tried], seconds: Sequence[float]) -> list[dict[str, Any]]:
    """A row a candidate, as the job's result and the report show it; empty of what was no search."""
    return [{**msgspec.to_builtins(one), "seconds": round(spent_s, 1)} for one, spent_s in zip(tried, seconds, strict=True)]


class Features:
    """What the candidates read, made when the first of a view asks for it."""

    def __init__(self, prepared: Prepared, rounds: Rounds) -> None:
        self.prepared = prepared
        self._rounds = rounds
        self._views: dict[str, Featured] = {}

    def open(self, candidate: Candidate) -> View:
        if candidate.view not in self._views:
            self.prepared, self._views[candidate.view] = table_features(self.prepared, candidate.recipe)
        featured = self._views[candidate.view]
        return View(featured.spec, self._rounds.pooled(featured.data))

    def of_views(self, names: Sequence[str]) -> Featured:
        """The preprocessing of these views as one."""
        chosen = [self._views[name] for name in names]
        notices = tuple(dict.fromkeys(notice for featured in chosen for notice in featured.notices))
        return replace(chosen[0], graph=views_graph({name: self._views[name].graph for name in names}), notices=notices)


def _row_weights(recipe: Recipe, labels: Sequence[str], train_target: np.ndarray, target_J: np.ndarray) -> np.ndarray:
    """What each judged row counts: its class's weight, where the loss has such."""
    if not labels:
        return np.ones(len(target_J))
    counts = np.bincount(train_target, minlength=len(labels)).tolist()
    weights = class_weights(recipe.loss, labels, counts)
    return np.ones(len(target_J)) if weights is None else np.array(weights)[target_J]

"""Gradient-boosted trees, grown a few at a time so that a person sees them grow and can stop them.

A run that was killed starts over: every tree depends on all before it, and to keep scikit-learn's inner state would need
pickle. The same arguments give the same trees, so the digest does not change.

Letters: N samples, F features, C classes, K trees an iteration (1, or C where there are more than two classes).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from modeltap.domain.architecture import Architecture
from modeltap.domain.features import FeatureBatch
from modeltap.domain.recipe import Optimizer, Recipe, Schedule
from modeltap.errors import InvalidData, InvalidRecipe
from modeltap.recipe.architectures import BoostingOptions, parse_options
from modeltap.training.class_weights import class_weights
from modeltap.training.curve import Curve, Part
from modeltap.training.growing import GrowingClassifier, GrowingRegressor
from modeltap.training.reporting import Reporter
from modeltap.training.stopped import Stopped
from modeltap.training.trained import Assignment, Trained, describe
from modeltap.training.trees import trees_graph
from modeltap.training.trees_check import check_graph

SMALLEST_CHUNK = 10
"""Iterations grown at once; the trees do not depend on it."""
LONGEST_CHUNK_S = 5.0
SHOWN_ROWS = 2_000
"""Of the training part, evenly spaced, whose loss the learning curve shows."""


def fit_boosting(given: Assignment, architecture: Architecture) -> Trained:
    """The trees of the best iteration: what one fit of that many iterations gives. Raises as `fit` does."""
    options = parse_options(architecture, given.recipe.model.options)
    assert isinstance(options, BoostingOptions)
    _check_recipe(given, options)
    weight_C = _class_weights(given)
    feature_NF = _rows(given.data.train)
    with threadpool_limits(given.threads):
        model = _make_model(given, options)
        curve = _grow(model, feature_NF, given, options, weight_C)
        best = curve.best if options.early_stopping_rounds else len(curve.entries)
        model._predictors = model._predictors[:best]
        graph = trees_graph(model, given.spec, num_classes=len(given.labels))
        check_graph(graph, model, given.data.train.features, num_classes=len(given.labels))
    return Trained(
        graph=graph,
        weights={},
        architecture=describe(architecture, options, given.spec, given.num_outputs, target=None),
        history=curve.entries,
        best_epoch=best if options.early_stopping_rounds else None,
    )


def _grow(
    model: Any,
    feature_NF: NDArray[np.float32],
    given: Assignment,
    options: BoostingOptions,
    weight_C: NDArray[np.float64] | None,
) -> Curve:
    """Grows until the validation loss no longer falls, max_iter, or the end of the time. Raises Stopped when asked to stop."""
    target_N = given.data.train_target
    weight_N = None if weight_C is None else weight_C[target_N]
    shown = np.unique(np.linspace(0, len(target_N) - 1, SHOWN_ROWS, dtype=np.int64))
    curve = Curve(
        Part(feature_NF[shown].astype(np.float64), target_N[shown]),
        Part(_rows(given.data.val).astype(np.float64), given.data.val_target) if len(given.data.val) else None,
        num_classes=len(given.labels),
        absolute=given.recipe.loss.name == "mae",
        weight_C=weight_C,
        learning_rate=options.learning_rate,
        patience=options.early_stopping_rounds,
        watched=given.watched,
    )
    reporter = Reporter(given.report, epochs=options.max_iter, steps=1, rows=len(target_N), metric_name=given.metric_name)
    reporter.start(0, message="growing trees")
    done, told, chunk = 0, 0, SMALLEST_CHUNK
    while done < options.max_iter and not curve.ended:
        if given.stop_requested():
            raise Stopped
        if done and given.time_up():
            break
        start_s = time.monotonic()
        grown = min(done + chunk, options.max_iter)
        model.set_params(max_iter=grown)
        model.fit(feature_NF, target_N, sample_weight=weight_N)
        curve.follow(model, since=done, threads=given.threads)
        iteration_s = (time.monotonic() - start_s) / (grown - done)
        done = grown
        chunk = max(SMALLEST_CHUNK, min(done // 5, int(LONGEST_CHUNK_S / max(iteration_s, 1e-6))))
        # What is watched is told of every iteration: the sizes of chunks depend on the clock, what is made of it must not.
        for entry in curve.entries[told if given.watched is not None else -1 :]:
            reporter.epoch(entry)
        told = len(curve.entries)
    return curve


def _make_model(given: Assignment, options: BoostingOptions) -> Any:
    settings: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "max_leaf_nodes": options.max_leaf_nodes,
        "max_depth": options.max_depth,
        "min_samples_leaf": options.min_samples_leaf,
        "l2_regularization": options.l2_regularization,
        "max_features": options.max_features,
        "categorical_features": [place for place, _ in given.spec.categories] or None,
        "early_stopping": False,
        "warm_start": True,
        "random_state": given.recipe.seed % 2**32,
    }
    if given.labels:
        return GrowingClassifier(**settings)
    loss = "absolute_error" if given.recipe.loss.name == "mae" else "squared_error"
    return GrowingRegressor(loss=loss, **settings)


def _rows(batch: FeatureBatch) -> NDArray[np.float32]:
    """Features of each sample in a row."""
    return np.ascontiguousarray(batch.features, dtype=np.float32).reshape(len(batch), -1)


def _class_weights(given: Assignment) -> NDArray[np.float64] | None:
    if not given.labels:
        return None
    counts = np.bincount(given.data.train_target, minlength=len(given.labels))
    if np.count_nonzero(counts) < 2:
        raise InvalidData("the training part holds only one class; a classifier needs two or more")
    weights = class_weights(given.recipe.loss, given.labels, counts.tolist())
    return None if weights is None else np.array(weights)


def _check_recipe(given: Assignment, options: BoostingOptions) -> None:
    """Raises InvalidRecipe for keys that trees have no use for: to ignore them in silence would mislead."""
    recipe = given.recipe
    unused: dict[str, bool] = {
        "optimizer": recipe.optimizer != Optimizer(),
        "schedule": recipe.schedule != Schedule(),
        "gradient_clip": recipe.gradient_clip is not None,
        "loss.label_smoothing": bool(recipe.loss.label_smoothing),
        "early_stopping": recipe.early_stopping is not None,
    }
    for key, is_set in unused.items():
        if is_set:
            raise InvalidRecipe(
                f"{key} is for networks, and gradient-boosting has none; its own keys are model.learning_rate,"
                " model.max_iter, model.early_stopping_rounds, …"
            )
    if given.spec.cardinalities or not given.spec.shape:
        raise InvalidRecipe("gradient-boosting reads categories as numbers; set data.transforms.categories: auto")
    _check_loss(recipe, is_class=bool(given.labels))
    if options.early_stopping_rounds and not len(given.data.val):
        raise InvalidRecipe(
            "model.early_stopping_rounds needs a validation part; set data.split.val, or"
            " model.early_stopping_rounds: 0 and a model.max_iter"
        )


def _check_loss(recipe: Recipe, *, is_class: bool) -> None:
    allowed = ("auto", "cross-entropy") if is_class else ("auto", "mse", "mae")
    if recipe.loss.name not in allowed:
        raise InvalidRecipe(f"gradient-boosting has no loss '{recipe.loss.name}' here; allowed: {', '.join(allowed)}")

"""Boosted trees: the best iteration of one fit, and a graph that answers exactly as they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from assignments import assign, make_recipe
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from modeltap.domain.features import FEATURES, FeatureBatch, FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import find_architecture
from modeltap.training.boosting import fit_boosting
from modeltap.training.stopped import Stopped
from modeltap.training.trained import Trained, TrainingData


def real_data(load: Any, *, missing: bool = True) -> TrainingData:
    """A bundled data set with a tenth of its cells missing; every fifth row is the validation part."""
    source = load()
    features = source.data.astype(np.float32)
    if missing:
        features[np.random.default_rng(0).random(features.shape) < 0.1] = np.nan
    target = source.target if source.target.dtype == np.float64 else source.target.astype(np.int64)
    val = np.arange(len(target)) % 5 == 0
    return TrainingData(
        train=FeatureBatch(features=features[~val]),
        train_target=target[~val],
        val=FeatureBatch(features=features[val]),
        val_target=target[val],
    )


def train(data: TrainingData, labels: tuple[str, ...], workdir: Path, options: dict[str, Any], **keys: Any) -> Trained:
    recipe_keys = {name: keys.pop(name) for name in ("loss", "optimizer", "early_stopping") if name in keys}
    recipe = make_recipe("gradient-boosting", options, **recipe_keys)
    spec = FeatureSpec(shape=data.train.features.shape[1:])
    given = assign(recipe, spec, workdir, labels=labels, data=data, **keys)
    return fit_boosting(given, find_architecture("gradient-boosting"))


def predict(trained: Trained, features: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(trained.graph.SerializeToString()).run(None, {FEATURES: features})[0]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So that scikit-learn's own fits do not wait for cores that other work holds."""
    with threadpool_limits(1):
        yield


OPTIONS = {"max_iter": 60, "learning_rate": 0.2, "max_leaf_nodes": 7, "early_stopping_rounds": 8}
FITTED = {"learning_rate": 0.2, "max_leaf_nodes": 7, "early_stopping": False, "random_state": 0}


@pytest.mark.parametrize(("load", "labels"), [(load_breast_cancer, ("b", "m")), (load_wine, ("x", "y", "z"))])
def test_classes_are_those_of_one_fit_of_the_best_iteration(load: Any, labels: tuple[str, ...], tmp_path: Path) -> None:
    data = real_data(load)
    trained = train(data, labels, tmp_path, OPTIONS, loss={"class_weights": "balanced"})
    best = trained.best_epoch
    assert best is not None
    losses = [entry["val_loss"] for entry in trained.history]
    assert losses.index(min(losses)) + 1 == best < 60
    weight_N = len(data.train_target) / (len(labels) * np.bincount(data.train_target))[data.train_target]
    single = HistGradientBoostingClassifier(max_iter=best, **FITTED)
    single.fit(data.train.features, data.train_target, sample_weight=weight_N)
    for features in (data.train.features, data.val.features):
        given = predict(trained, features)
        np.testing.assert_allclose(given, single.predict_proba(features), atol=1e-6)
        assert (given.argmax(1) == single.predict(features)).all()


def test_numbers_are_those_of_one_fit(tmp_path: Path) -> None:
    data = real_data(load_diabetes)
    trained = train(data, (), tmp_path, OPTIONS)
    single = HistGradientBoostingRegressor(max_iter=trained.best_epoch, **FITTED)
    single.fit(data.train.features, data.train_target)
    np.testing.assert_allclose(predict(trained, data.val.features), single.predict(data.val.features), rtol=1e-6)
    rmse = np.sqrt(np.mean((single.predict(data.val.features) - data.val_target) ** 2))
    assert trained.history[(trained.best_epoch or 0) - 1]["val_rmse"] == pytest.approx(rmse)


def test_inputs_right_beside_a_threshold_go_the_same_way(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    features = (draw.integers(0, 40, (400, 2)) / np.float32(7)).astype(np.float32)
    target = (features[:, 0] * 10 + features[:, 1]).astype(np.float64)
    part = FeatureBatch(features=features)
    data = TrainingData(train=part, train_target=target, val=part, val_target=target)
    trained = train(data, (), tmp_path, {**OPTIONS, "min_samples_leaf": 1})
    single = HistGradientBoostingRegressor(max_iter=trained.best_epoch, min_samples_leaf=1, **FITTED)
    single.fit(features, target)
    middles = (np.unique(features)[1:] + np.unique(features)[:-1]) / np.float32(2)
    beside = [middles, *(np.nextafter(middles, np.float32(end)) for end in (-np.inf, np.inf))]
    asked = np.stack([np.concatenate(beside)] * 2, axis=1)
    np.testing.assert_allclose(predict(trained, asked), single.predict(asked), rtol=1e-6)


def test_a_class_that_training_never_saw_has_no_chance(tmp_path: Path) -> None:
    data = real_data(load_wine)
    shifted = TrainingData(train=data.train, train_target=data.train_target * 2, val=data.val, val_target=data.val_target * 2)
    given = predict(train(shifted, ("a", "b", "c", "d", "e"), tmp_path, OPTIONS), data.val.features)
    assert not given[:, [1, 3]].any()
    assert (given.argmax(1) == shifted.val_target).mean() > 0.9


def test_pictures_are_read_in_a_row_and_runs_repeat(tmp_path: Path) -> None:
    data = real_data(load_diabetes, missing=False)
    shaped = TrainingData(
        train=FeatureBatch(features=data.train.features.reshape(-1, 5, 2)),
        train_target=data.train_target,
        val=FeatureBatch(features=data.val.features.reshape(-1, 5, 2)),
        val_target=data.val_target,
    )
    graphs = [train(shaped, (), tmp_path, OPTIONS).graph.SerializeToString(deterministic=True) for _ in range(2)]
    assert graphs[0] == graphs[1]
    flat = train(data, (), tmp_path, OPTIONS)
    assert (predict(train(shaped, (), tmp_path, OPTIONS), shaped.val.features) == predict(flat, data.val.features)).all()


def test_stops_when_asked_and_starts_over_to_the_same_trees(tmp_path: Path) -> None:
    data = real_data(load_wine)
    labels = ("x", "y", "z")
    chunks: list[float] = []
    with pytest.raises(Stopped):
        train(
            data,
            labels,
            tmp_path,
            OPTIONS,
            report=lambda line: chunks.append(line.fraction),
            stop_requested=lambda: len(chunks) > 1,
        )
    assert 0 < chunks[-1] < 1
    again, whole = (train(data, labels, place, OPTIONS) for place in (tmp_path, tmp_path / "elsewhere"))
    assert again.graph.SerializeToString() == whole.graph.SerializeToString()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": {"lr": 0.1}}, "optimizer is for networks"),
        ({"early_stopping": {"patience": 3}}, "model.early_stopping_rounds"),
        ({"loss": {"name": "huber"}}, "has no loss 'huber' here; allowed: auto, cross-entropy"),
    ],
)
def test_keys_of_networks_are_refused(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        train(real_data(load_wine), ("x", "y", "z"), tmp_path, OPTIONS, **keys)

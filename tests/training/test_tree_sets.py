"""Splits that part categories in sets answer as scikit-learn's own, and the trees of several folds as their mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from assignments import assign, make_recipe
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from modeltap.domain.features import FEATURES, FeatureBatch, FeatureSpec
from modeltap.recipe.architectures import find_architecture
from modeltap.training.boosting import fit_boosting
from modeltap.training.trained import Trained, TrainingData
from modeltap.training.trees_merge import merge_trees

NUM_ROWS, FEW, MANY = 1500, 30, 200
SPEC = FeatureSpec(shape=(3,), categories=((1, FEW), (2, MANY)))
OPTIONS = {"max_iter": 40, "learning_rate": 0.2, "max_leaf_nodes": 8}


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A number and two categories without an order, one of them missing here and there, and a score that follows from them."""
    draw = np.random.default_rng(seed)
    few, many = draw.integers(0, FEW, NUM_ROWS), draw.integers(0, MANY - 5, NUM_ROWS)
    number = draw.normal(size=NUM_ROWS)
    effect = np.random.default_rng(7)
    score = number + effect.normal(size=FEW)[few] + effect.normal(size=MANY)[many] / 2 + draw.normal(size=NUM_ROWS) / 2
    features = np.stack([number, few, many], axis=1).astype(np.float32)
    features[draw.random(NUM_ROWS) < 0.1, 1] = np.nan
    return features, score


def train(workdir: Path, labels: tuple[str, ...], target: np.ndarray, features: np.ndarray) -> Trained:
    val = np.arange(len(target)) % 5 == 0
    data = TrainingData(FeatureBatch(features=features[~val]), target[~val], FeatureBatch(features=features[val]), target[val])
    given = assign(make_recipe("gradient-boosting", OPTIONS), SPEC, workdir, labels=labels, data=data)
    with threadpool_limits(1):
        return fit_boosting(given, find_architecture("gradient-boosting"))


def predict(graph: Any, features: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {FEATURES: features})[0]


def awkward() -> np.ndarray:
    """Every code, those that training never saw among them, and missing ones."""
    few = np.concatenate([np.arange(FEW), np.full(MANY - FEW, np.nan)])
    return np.stack([np.zeros(MANY), few, np.arange(MANY)], axis=1).astype(np.float32)


@pytest.mark.parametrize("labels", [("no", "yes"), ("low", "middle", "high")])
def test_sets_of_categories_answer_as_those_of_scikit_learn(labels: tuple[str, ...], tmp_path: Path) -> None:
    features, score = rows()
    edges = np.quantile(score, np.linspace(0, 1, len(labels) + 1)[1:-1])
    target = np.digitize(score, edges).astype(np.int64)
    trained = train(tmp_path, labels, target, features)
    val = np.arange(NUM_ROWS) % 5 == 0
    single = HistGradientBoostingClassifier(
        max_iter=trained.best_epoch,
        learning_rate=0.2,
        max_leaf_nodes=8,
        early_stopping=False,
        random_state=0,
        categorical_features=[1, 2],
    )
    with threadpool_limits(1):
        single.fit(features[~val], target[~val])
        for asked in (features, awkward()):
            np.testing.assert_allclose(predict(trained.graph, asked), single.predict_proba(asked), atol=1e-6)


def test_folds_become_one_graph_of_their_mean(tmp_path: Path) -> None:
    graphs = []
    for fold in range(3):
        features, score = rows(fold)
        graphs.append(train(tmp_path / str(fold), (), score, features).graph)
    merged = merge_trees(graphs)
    assert merged is not None
    mean = np.mean([predict(graph, awkward()) for graph in graphs], axis=0)
    np.testing.assert_allclose(predict(merged, awkward()), mean, rtol=1e-5, atol=1e-6)


def test_folds_of_classes_become_one_graph_of_their_mean_score(tmp_path: Path) -> None:
    graphs = []
    for fold in range(2):
        features, score = rows(fold)
        graphs.append(train(tmp_path / str(fold), ("no", "yes"), (score > 0).astype(np.int64), features).graph)
    merged = merge_trees(graphs)
    assert merged is not None
    odds = np.mean([np.log(p[:, 1] / p[:, 0]) for p in (predict(graph, awkward()) for graph in graphs)], axis=0)
    np.testing.assert_allclose(predict(merged, awkward())[:, 1], 1 / (1 + np.exp(-odds)), atol=1e-5)


def test_folds_that_know_other_classes_stay_apart(tmp_path: Path) -> None:
    features, score = rows()
    three = np.digitize(score, [-1, 1]).astype(np.int64)
    labels = ("low", "middle", "high")
    whole = train(tmp_path, labels, three, features).graph
    without = train(tmp_path, labels, np.minimum(three, 1), features).graph
    assert merge_trees([whole, without]) is None

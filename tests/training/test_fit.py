"""What a person gets from `fit`: models that learned, progress, and refusals of what cannot be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from assignments import assign, make_data, make_recipe
from sklearn.datasets import load_digits

from modeltap.domain.features import FEATURES, FeatureBatch, FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.errors import InvalidData, InvalidRecipe
from modeltap.recipe.architectures import find_architecture
from modeltap.training.fit import Trained, TrainingData, fit
from modeltap.training.network import train_network

TABLE = FeatureSpec(shape=(4,))


def run(given: Any) -> Trained:
    return fit(
        given.recipe,
        given.spec,
        given.data,
        labels=given.labels,
        threads=given.threads,
        workdir=given.workdir,
        report=given.report,
        stop_requested=given.stop_requested,
    )


def test_learns_real_digits(tmp_path: Path) -> None:
    digits = load_digits()
    features, target = (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)
    data = TrainingData(
        train=FeatureBatch(features=features[:1200]),
        train_target=target[:1200],
        val=FeatureBatch(features=features[1200:1400]),
        val_target=target[1200:1400],
    )
    lines: list[Progress] = []
    recipe = make_recipe("cnn", {"filters": [16], "dense": None}, epochs=10, optimizer={"lr": 0.005})
    labels = [str(digit) for digit in range(10)]
    trained = run(assign(recipe, FeatureSpec(shape=(8, 8)), tmp_path, labels=labels, data=data, report=lines.append))
    session = onnxruntime.InferenceSession(trained.graph.SerializeToString())
    prob = session.run(None, {FEATURES: features[1400:]})[0]
    assert (prob.argmax(1) == target[1400:]).mean() > 0.9
    np.testing.assert_allclose(prob.sum(1), 1, rtol=1e-5)
    epochs = [line.epoch_metrics for line in lines if line.epoch_metrics]
    assert epochs == trained.history
    assert set(epochs[-1]) == {"epoch", "train_loss", "val_loss", "val_accuracy", "lr"}
    assert [line.fraction for line in lines] == sorted(line.fraction for line in lines)
    assert lines[-1].fraction == 1.0
    assert lines[-1].metric_name == "accuracy"
    initializers = {weight.name for weight in trained.graph.graph.initializer}
    assert set(trained.weights) <= initializers


def test_a_bounded_last_layer_means_raw_units(tmp_path: Path) -> None:
    layers = [{"dense": {"units": 8, "activation": "relu"}}, {"dense": {"units": 1, "activation": "relu"}}]
    given = assign(make_recipe("sequential", {"layers": layers}, epochs=1), TABLE, tmp_path, labels=())
    scale = train_network(given, find_architecture("sequential")).scale
    assert scale is not None
    assert (scale.mean, scale.std) == (0.0, 1.0)


def test_trains_without_a_validation_part_unless_it_is_needed(tmp_path: Path) -> None:
    whole = make_data(TABLE, labels=("a", "b", "c"))
    none = FeatureBatch(features=whole.train.features[:0])
    data = TrainingData(train=whole.train, train_target=whole.train_target, val=none, val_target=whole.val_target[:0])
    linear = find_architecture("linear")
    trained = train_network(assign(make_recipe("linear", {}, epochs=2), TABLE, tmp_path, data=data), linear)
    assert set(trained.standing.history[-1]) == {"epoch", "train_loss", "lr"}
    stopping = make_recipe("linear", {}, early_stopping={"patience": 3})
    with pytest.raises(InvalidRecipe, match="need a validation part"):
        train_network(assign(stopping, TABLE, tmp_path, data=data), linear)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (make_recipe("mlp", {}, device="cuda"), "torch finds no CUDA device here; set device: auto or cpu"),
        (make_recipe("mlp", {"batch_norm": True}, batch_size=1), "batch normalisation needs two rows or more"),
        (make_recipe("mlp", {}, loss={"name": "mae"}), "loss 'mae' is for numbers"),
        (make_recipe("mlp", {}, model={"input": {"shape": [5]}}), r"model.input.shape is \[5\], and the data has \[4\]"),
        (make_recipe("cnn", {}), r"cnn reads pictures \(height, width, channels\), the data has 4; use mlp"),
        (make_recipe("gradient-bosting", {}), "did you mean 'gradient-boosting'"),
    ],
)
def test_refuses_recipes_that_do_not_fit(recipe: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        run(assign(recipe, TABLE, tmp_path))


def test_refuses_data_that_does_not_fit(tmp_path: Path) -> None:
    recipe = make_recipe("linear", {}, epochs=1)
    with pytest.raises(InvalidData, match="only one class, 'a'"):
        run(assign(recipe, TABLE, tmp_path, labels=("a",)))
    with pytest.raises(InvalidData, match="class codes outside 0 to 1"):
        run(assign(recipe, TABLE, tmp_path, labels=("a", "b"), data=make_data(TABLE, labels=("a", "b", "c"))))
    tokens = FeatureSpec(cardinalities=(3, 3))
    wide = make_data(FeatureSpec(cardinalities=(9, 3)), labels=("a", "b", "c"))
    with pytest.raises(InvalidData, match="codes outside their cardinalities"):
        run(assign(recipe, tokens, tmp_path, data=wide))
    broken = make_data(TABLE, labels=())
    broken.train_target[3] = np.nan
    with pytest.raises(InvalidData, match="missing or infinite numbers"):
        run(assign(recipe, TABLE, tmp_path, labels=(), data=broken))

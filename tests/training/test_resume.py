"""A run that was stopped or killed anywhere goes on to the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from assignments import assign, make_recipe

from modeltap.domain.features import FeatureSpec
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import find_architecture
from modeltap.training.checkpoint import CHECKPOINT
from modeltap.training.network import TrainedNetwork, train_network
from modeltap.training.stopped import Stopped

PICTURE = FeatureSpec(shape=(6, 6))
TABLE = FeatureSpec(shape=(4,), cardinalities=(3, 5))
CONV_LAYERS = [
    {"conv2d": {"filters": 4, "kernel": 3}},
    "batchnorm",
    {"activation": "relu"},
    {"maxpool2d": {"size": 2}},
    "flatten",
    {"dropout": {"rate": 0.3}},
    {"dense": {"units": 3, "activation": "softmax"}},
]
RUNS: dict[str, tuple[str, dict[str, Any], FeatureSpec, dict[str, Any]]] = {
    "adam, cosine, dropout, batch norm": (
        "sequential",
        {"layers": CONV_LAYERS},
        PICTURE,
        {"optimizer": {"lr": 0.01, "l2": 0.01}, "schedule": {"name": "cosine", "warmup": 0.2}},
    ),
    "nesterov, plateau, early stopping": (
        "mlp",
        {"hidden": [8], "dropout": 0.4},
        TABLE,
        {
            "optimizer": {"name": "nesterov", "lr": 0.5},
            "schedule": {"name": "plateau", "every": 1},
            "early_stopping": {"patience": 2},
            "gradient_clip": 1.0,
            "epochs": 9,
        },
    ),
    "rmsprop, lstm": (
        "sequential",
        {"layers": [{"lstm": {"units": 5}}, {"dense": {"units": 3}}]},
        PICTURE,
        {"optimizer": {"name": "rmsprop", "lr": 0.01}},
    ),
}


class Killed(BaseException):
    """Stands for SIGKILL: nothing is written when it comes."""


def train(recipe: Recipe, spec: FeatureSpec, workdir: Path, **keys: Any) -> TrainedNetwork:
    workdir.mkdir(exist_ok=True)
    return train_network(assign(recipe, spec, workdir, **keys), find_architecture(recipe.model.architecture))


def whole_run() -> Recipe:
    architecture, options, _, keys = RUNS["adam, cosine, dropout, batch norm"]
    return make_recipe(architecture, options, **{"epochs": 2, "batch_size": 16, **keys})


def outcome(trained: TrainedNetwork) -> Any:
    weights = {name: tensor.numpy().tobytes() for name, tensor in trained.module.state_dict().items()}
    return weights, trained.standing.history, trained.standing.best_epoch


@pytest.mark.parametrize("name", RUNS)
def test_stopped_and_killed_runs_end_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    architecture, options, spec, keys = RUNS[name]
    recipe = make_recipe(architecture, options, **{"epochs": 4, "batch_size": 16, **keys})
    expected = outcome(train(recipe, spec, tmp_path / "whole"))
    draw = random.Random(0)
    asked = 0
    limit = draw.randrange(1, 5)
    killing = False

    def stop_at_limit() -> bool:
        nonlocal asked
        asked += 1
        if asked > limit and killing:
            raise Killed
        return asked > limit

    for attempt in range(100):
        killing = attempt % 2 == 1
        try:
            trained = train(recipe, spec, tmp_path, stop_requested=stop_at_limit, checkpoint_every_s=0.0)
            break
        except (Stopped, Killed):
            asked, limit = 0, draw.randrange(2, 5)
    assert attempt > 3
    assert outcome(trained) == expected


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_gone_on_from(tmp_path: Path) -> None:
    recipe = make_recipe("mlp", {"hidden": [8]}, epochs=2)
    expected = outcome(train(recipe, TABLE, tmp_path))
    other = make_recipe("mlp", {"hidden": [8]}, epochs=2, seed=1)
    assert outcome(train(other, TABLE, tmp_path)) != expected
    assert outcome(train(recipe, TABLE, tmp_path)) == expected
    file = tmp_path / CHECKPOINT
    train(recipe, TABLE, tmp_path, checkpoint_every_s=0.0)
    content = bytearray(file.read_bytes())
    messages: list[str] = []
    for damaged in (bytes(content[:-40]), b"", bytes(content[:-20]) + b"\x01" + bytes(content[-19:])):
        file.write_bytes(damaged)
        again = train(recipe, TABLE, tmp_path, report=lambda line: messages.append(line.message))
        assert outcome(again) == expected
    assert "goes on in epoch" not in "".join(messages)


def test_goes_on_after_sigkill_of_its_process(tmp_path: Path) -> None:
    script = f"""
import pathlib, test_resume
test_resume.train(test_resume.whole_run(), test_resume.PICTURE, pathlib.Path({str(tmp_path)!r}), checkpoint_every_s=0.0)
"""
    environment = {
        **os.environ,
        "MODELTAP_CRASH_AT": "checkpoint.before_rename:5",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    killed = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    messages: list[str] = []
    trained = train(whole_run(), PICTURE, tmp_path, report=lambda line: messages.append(line.message))
    assert messages[0] == "goes on in epoch 1"
    assert outcome(trained) == outcome(train(whole_run(), PICTURE, tmp_path / "elsewhere"))


def test_says_when_it_got_further_than_where_it_began(tmp_path: Path) -> None:
    saved: list[None] = []

    def save() -> None:
        saved.append(None)

    train(whole_run(), PICTURE, tmp_path, checkpoint_every_s=0.0, saved=save)
    assert len(saved) > 10
    saved.clear()
    train(whole_run(), PICTURE, tmp_path, checkpoint_every_s=0.0, saved=save)
    assert not saved


def test_stopping_keeps_the_best_weights_and_says_so(tmp_path: Path) -> None:
    architecture, options, spec, keys = RUNS["nesterov, plateau, early stopping"]
    recipe = make_recipe(architecture, options, **{"batch_size": 16, **keys, "epochs": 50})
    messages: list[str] = []
    trained = train(recipe, spec, tmp_path, report=lambda line: messages.append(line.message))
    losses = [entry["val_loss"] for entry in trained.standing.history]
    assert len(losses) < 50
    best = trained.standing.best_epoch
    assert best is not None
    assert losses[best - 1] == min(losses)
    assert messages[-1] == f"stopped early: epoch {best} was the best"


def test_a_loss_that_is_no_number_ends_the_run_with_its_step(tmp_path: Path) -> None:
    recipe = make_recipe("mlp", {"hidden": [8]}, optimizer={"name": "sgd", "lr": 1e12}, batch_size=16)
    with pytest.raises(InvalidRecipe, match=r"the loss became (nan|inf) at step \d of epoch 1; lower optimizer.lr"):
        train(recipe, TABLE, tmp_path)


def test_training_leaves_torch_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist()
    train(make_recipe("linear", {}, epochs=1), TABLE, tmp_path)
    after = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist()
    assert before == after

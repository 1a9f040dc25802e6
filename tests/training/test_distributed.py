"""Several processes learn what one would, go on where they were killed or stopped, and say why when they cannot.

The processes are real ones: each test pays for every start of them with a second of each core.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from assignments import assign, make_data, make_recipe, never, ranks_here
from safetensors import safe_open

from modeltap.domain.features import FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe, RanksLost
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.parse import parse_recipe
from modeltap.training.checkpoint import CHECKPOINT, write_checkpoint
from modeltap.training.distributed import agent
from modeltap.training.distributed.run import FOLDER
from modeltap.training.network import TrainedNetwork, train_network
from modeltap.training.shared_network import train_distributed
from modeltap.training.stopped import Stopped
from modeltap.training.trained import Assignment

TABLE = FeatureSpec(shape=(4,), cardinalities=(3, 5))
WEIGHED: dict[str, Any] = {
    "batch_size": 16,
    "epochs": 8,
    "optimizer": {"lr": 0.02, "l1": 0.001, "l2": 0.001},
    "loss": {"name": "cross-entropy", "class_weights": {"a": 3.0}, "label_smoothing": 0.1},
    "schedule": {"name": "cosine", "warmup": 0.1},
    "gradient_clip": 0.5,
}
ENDING: dict[str, Any] = {
    "batch_size": 16,
    "epochs": 30,
    "optimizer": {"name": "nesterov", "lr": 0.1},
    "schedule": {"name": "plateau", "every": 1},
    "early_stopping": {"patience": 3, "min_delta": 0.01},
}
NORMED = {"layers": [{"dense": {"units": 4}}, "batchnorm", {"dense": {"units": 3}}]}


def mlp(processes: int, *, gradients: str = "auto", **keys: Any) -> Recipe:
    together = {"processes": processes, "gradients": gradients}
    return make_recipe("mlp", {"hidden": [8], "dropout": 0.0}, distributed=together, **keys)


def train(given: Assignment) -> TrainedNetwork:
    architecture = find_architecture(given.recipe.model.architecture)
    return (train_distributed if given.recipe.distributed.processes > 1 else train_network)(given, architecture)


def check_alike(shared: TrainedNetwork, one: TrainedNetwork) -> None:
    assert shared.standing.best_epoch == one.standing.best_epoch
    assert len(shared.standing.history) == len(one.standing.history)
    for entry, expected in zip(shared.standing.history, one.standing.history, strict=True):
        assert entry == pytest.approx(expected, rel=1e-4)
    for weight, tensor in one.module.state_dict().items():
        np.testing.assert_allclose(shared.module.state_dict()[weight].numpy(), tensor.numpy(), rtol=1e-3, atol=1e-4)


def forget_last_save(path: Path) -> None:
    """The checkpoint as it is if all are killed after the last epoch's, before the best weights are taken."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    assert any(name.startswith("best.") for name in tensors)
    last = {name: tensor + 1 if name.startswith("weights.") else tensor for name, tensor in tensors.items()}
    write_checkpoint(path, last, json.loads(metadata["state"]), run=metadata["run"])


@pytest.mark.parametrize("gradients", ["auto", "ddp"])
def test_three_processes_learn_what_one_would_also_of_a_batch_with_two_rows(tmp_path: Path, gradients: str) -> None:
    (tmp_path / "one").mkdir()
    data = make_data(TABLE, labels=("a", "b", "c"), rows=98)
    one = train(assign(mlp(1, **WEIGHED), TABLE, tmp_path / "one", data=data))
    told: list[Progress] = []
    shared = train(assign(mlp(3, gradients=gradients, **WEIGHED), TABLE, tmp_path, data=data, report=told.append))
    check_alike(shared, one)
    assert [line.epoch_metrics for line in told if line.epoch_metrics] == shared.standing.history
    assert [line.fraction for line in told] == sorted(line.fraction for line in told)
    assert not (tmp_path / FOLDER).exists()


def test_processes_that_were_stopped_go_on_and_end_early_as_one_would(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    one = train(assign(mlp(1, **ENDING), TABLE, tmp_path / "one", labels=()))
    assert len(one.standing.history) < ENDING["epochs"]
    told: list[Progress] = []
    saved: list[int] = []

    def run(stop_requested: Callable[[], bool] = never) -> TrainedNetwork:
        given = assign(
            mlp(2, **ENDING),
            TABLE,
            tmp_path,
            labels=(),
            checkpoint_every_s=0.0,
            report=told.append,
            saved=lambda: saved.append(1),
            stop_requested=stop_requested,
        )
        return train(given)

    with pytest.raises(Stopped):
        run(lambda: any(line.step for line in told))
    assert not ranks_here()
    assert saved
    check_alike(run(), one)
    assert [line.message for line in told if "goes on in epoch" in line.message]
    assert told[-1].message == f"stopped early: epoch {one.standing.best_epoch} was the best"
    count = len(told)
    check_alike(run(), one)
    forget_last_save(tmp_path / CHECKPOINT)
    check_alike(run(), one)
    assert len(told) == count, "what has ended is not trained again"


def test_processes_that_die_again_and_again_are_given_up_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "LOST_IN_A_ROW", 3)
    killed: set[int] = set()
    told: list[str] = []

    def kill_second() -> bool:
        for child in ranks_here()[1:]:
            child.kill()
            killed.add(child.pid)
        return False

    given = assign(mlp(2), TABLE, tmp_path, stop_requested=kill_second, report=lambda line: told.append(line.message))
    with pytest.raises(RanksLost, match=r"training process 2 of 2 was killed by SIGKILL.* 3 times in a row") as lost:
        train(given)
    assert lost.value.facts()["code"] == "ranks_lost"
    assert len(killed) == 3
    assert not ranks_here()
    again = "training process 2 of 2 was killed by SIGKILL, as the system does when memory runs out; both go on from the last"
    assert [line.startswith(again) for line in told] == [True, True]


def test_a_named_error_of_the_processes_is_the_runs_own(tmp_path: Path) -> None:
    told: list[Progress] = []
    recipe = make_recipe("sequential", NORMED, batch_size=3, distributed={"processes": 2})
    given = assign(recipe, FeatureSpec(shape=(4,)), tmp_path, report=told.append)
    with pytest.raises(InvalidRecipe, match="two rows or more in each process's share of a batch, the smallest has 1; raise"):
        train(given)
    assert not told


@pytest.mark.parametrize(
    ("task", "keys", "message"),
    [
        ("tabular-classification", {"model": "gradient-boosting"}, "processes is 2, and 'gradient-boosting' is trained by one"),
        ("text-classification", {"model": "ngram-linear"}, "processes is 2, and 'ngram-linear' is trained by one process"),
        ("text-embedding", {}, "processes is 2, and 'sentence-encoder' is trained by one process; leave distributed out"),
        ("image-classification", {"batch_size": 1}, "batch_size is 1, and each of 2 processes needs a row of it"),
        ("image-classification", {"distributed": {"processes": 300}}, "distributed.processes is 300; at most 256"),
        ("image-classification", {"distributed": {"gradients": "ddp"}}, "gradients is for several processes; set distributed"),
        ("image-classification", {"distributed": {"proceses": 2}}, "did you mean 'processes'"),
        (
            "text-generation",
            {"distributed": {"processes": 2, "gradients": "gloo"}},
            "gradients: 'gloo' is not allowed; known: auto, ddp",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_recipe(task: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        parse_recipe({"task": task, "distributed": {"processes": 2}, **keys})

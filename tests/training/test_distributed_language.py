"""Several processes learn of texts what one would, whatever they learn and however gradients are added up.

The processes are real ones: each test pays for every start of them with some seconds of each core.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from assignments import ranks_here
from language_runs import GPT, fit, play, talk
from safetensors.numpy import load_file

from modeltap.domain.progress import Progress
from modeltap.training.distributed.run import FOLDER
from modeltap.training.language.fit import TrainedLanguage
from modeltap.training.stopped import Stopped
from tiny_language import files_of, make_tiny_llama

BLOCKS: dict[str, Any] = {"model": {**GPT, "layers": 2}, "steps": 8, "batch_size": 5, "precision": "float32"}
"""Of which two processes take two rows and three."""


def check_alike(shared: TrainedLanguage, one: TrainedLanguage) -> None:
    assert len(shared.history) == len(one.history)
    for entry, expected in zip(shared.history, one.history, strict=True):
        assert entry == pytest.approx(expected, rel=1e-4)
    found, expected_weights = (load_file(each.folder / "model.safetensors") for each in (shared, one))
    assert set(found) == set(expected_weights)
    for name, weight in expected_weights.items():
        np.testing.assert_allclose(found[name], weight, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(
    ("gradients", "keys"),
    [("auto", {}), ("auto", {"accumulate": 2}), ("ddp", {"accumulate": 3, "gradient_clip": 0.5})],
)
def test_two_processes_learn_of_a_stream_what_one_would(tmp_path: Path, gradients: str, keys: dict[str, Any]) -> None:
    one = fit(tmp_path / "one", {**BLOCKS, **keys}, play())
    told: list[Progress] = []
    together = {"distributed": {"processes": 2, "gradients": gradients}}
    shared = fit(tmp_path / "two", {**BLOCKS, **keys, **together}, play(), report=told.append)
    check_alike(shared, one)
    assert [line.epoch_metrics for line in told if line.epoch_metrics] == shared.history
    assert not (tmp_path / "two" / FOLDER).exists()


@pytest.mark.parametrize("gradients", ["auto", "ddp"])
def test_three_processes_train_on_a_base_with_small_matrices_and_a_text_too_few(tmp_path: Path, gradients: str) -> None:
    base = files_of(make_tiny_llama(tmp_path / "base"))
    talks = [talk(f"say {number}", f"it is {number}") for number in range(8)]
    samples: Any = {"train": talks, "val": talks[:2], "test": []}
    model = {"architecture": "lora", "base": "x@1"}
    recipe = {"model": model, "optimizer": {"lr": 0.01}, "epochs": 3, "batch_size": 3, "accumulate": 2, "precision": "float32"}
    one = fit(tmp_path / "one", recipe, samples, base=base, base_digest="x")
    together = {"distributed": {"processes": 3, "gradients": gradients}}
    shared = fit(tmp_path / "three", {**recipe, **together}, samples, base=base, base_digest="x")
    check_alike(shared, one)


def test_processes_that_were_killed_and_stopped_go_on_to_the_same_bytes(tmp_path: Path) -> None:
    recipe = {**BLOCKS, "steps": 400, "distributed": {"processes": 2}}
    whole = fit(tmp_path / "whole", recipe, play())
    told: list[Progress] = []

    def kill_one() -> bool:
        if not any("was killed" in line.message for line in told) and any("goes on" in line.message for line in told):
            for child in ranks_here()[1:]:
                child.kill()
        return False

    def run(stop_requested: Callable[[], bool]) -> TrainedLanguage:
        return fit(tmp_path / "cut", recipe, play(), report=told.append, stop_requested=stop_requested, checkpoint_every_s=0.0)

    with pytest.raises(Stopped):
        run(lambda: any(line.step for line in told))
    told.clear()
    again = run(kill_one)
    assert any("process 2 of 2 was killed by SIGKILL" in line.message for line in told)
    assert len([line for line in told if "goes on in epoch" in line.message]) == 2
    assert again.history == whole.history
    assert (again.folder / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()

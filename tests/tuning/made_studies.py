"""A study over a made-up score, driven as a search drives it, with a reopening wherever a process might have died."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.search_space import dimensions
from modeltap.tuning.study import Study

EPOCHS = 9
SPACE: dict[str, Any] = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True, "points": 3},
    "model.hidden": [[64], [128, 64]],
    "model.dropout": {"low": 0, "high": 0.5, "points": 3},
    "batch_size": {"low": 16, "high": 256, "points": 2},
}


def open_study(path: Path, *, space: Mapping[str, Any] | None = None, **search: Any) -> Study:
    document = {
        "task": "tabular-classification",
        "model": "mlp",
        "search": {"trials": 12, "metric": "roc_auc", "space": space or SPACE, **search},
    }
    read = parse_recipe(document).search
    assert read is not None
    return Study(path, read, dimensions(read, document, parse_recipe), max_epochs=EPOCHS)


def score(params: Mapping[str, Any], epoch: int = EPOCHS) -> float:
    """Best at a rate of 0.003, two layers and no dropout; it rises with the epochs."""
    wide = 0.02 * abs(math.log10(params["optimizer.lr"]) + 2.5) + 0.03 * params["model.dropout"]
    return (0.9 - wide - 0.01 * (params["model.hidden"] == [64])) * (1 - math.exp(-epoch / 3))


def run_study(path: Path, *, kill_often: bool = False, **search: Any) -> Study:
    """Every trial has ended. `kill_often`: the study is opened again in the middle of trials and after each of them, and what
    a trial had told since its checkpoint is told again."""
    study = open_study(path, **search)
    while True:
        running = [trial for trial in study.trials() if trial.state == "running"]
        trial = running[0] if running else study.ask()
        if trial is None:
            return study
        for epoch in range(1, EPOCHS + 1):
            if kill_often and epoch == 5:
                study = open_study(path, **search)
                assert not any(study.report(trial.number, told, score(trial.params, told)) for told in (3, 4))
            if study.report(trial.number, epoch, score(trial.params, epoch)):
                break
        else:
            study.complete(trial.number, score(trial.params))
        if kill_often:
            study = open_study(path, **search)

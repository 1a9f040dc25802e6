"""Permutation importance: what decides comes first, what does nothing is worth nothing, and arrays count by their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from games import Counted

from modeltap.domain.dataset import Column
from modeltap.explain.importance import MAX_RUN, REPEATS, permutation_importance

COLUMNS = [
    Column(name="deciding", kind="number"),
    Column(name="helping", kind="category"),
    Column(name="idle", kind="number"),
    Column(name="signal", kind="array", shape=(3,)),
]


def rows(count: int) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    return {
        "deciding": chance.normal(size=count),
        "helping": np.array(["a", "b"] * count, dtype=object)[:count],
        "idle": chance.normal(size=count),
        "signal": chance.normal(size=(count, 3)),
    }


def answers(batch: Any) -> Any:
    return {"y": 3 * batch["deciding"] + (batch["helping"] == "a") + batch["signal"][:, 1]}


def measured(count: int = 400, seed: int = 0) -> tuple[Any, Counted]:
    given, run = rows(count), Counted(answers)
    truth = answers(given)["y"]

    def error(outputs: Any, chosen: Any) -> float:
        return float(np.sqrt(np.mean((outputs["y"] - truth[chosen]) ** 2)))

    return permutation_importance(COLUMNS, given, run, error, seed=seed), run


def test_columns_stand_in_the_order_of_what_is_lost_without_them():
    found, _ = measured()
    assert [one.column for one in found[:3]] == ["deciding", "signal[1]", "helping"]
    assert {one.column: one.loss for one in found[3:]} == {"idle": 0.0, "signal[0]": 0.0, "signal[2]": 0.0}
    assert found[0].loss > 2 * found[1].loss > 0
    # Shuffled, a normal column misses by the square root of 2 times its weight.
    assert abs(found[0].loss - 3 * np.sqrt(2)) < 0.4
    assert 0 < found[0].spread < found[0].loss / 4


def test_the_same_seed_gives_the_same_and_few_rows_are_run_of_many():
    assert measured()[0] == measured()[0]
    assert measured(seed=1)[0] != measured()[0]
    _, run = measured(count=50_000)
    assert run.rows <= MAX_RUN + MAX_RUN // REPEATS

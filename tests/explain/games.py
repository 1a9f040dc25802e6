"""Models that are known to the last digit, as an explanation asks them, and Shapley values by every coalition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch
from modeltap.explain.steps import Target
from modeltap.explain.table import TablePlayers

Function = Callable[[np.ndarray], np.ndarray]
"""(K, M) numbers → (K,) answers."""


class Counted:
    """Runs a function of rows, and counts them."""

    def __init__(self, answers: Callable[[Batch], Batch]) -> None:
        self._answers = answers
        self.rows = 0
        self.largest = 0

    def __call__(self, batch: Batch) -> Batch:
        rows = len(next(iter(batch.values())))
        self.rows += rows
        self.largest = max(self.largest, rows)
        return self._answers(batch)


def numbers(count: int) -> list[Column]:
    return [Column(name=f"c{place}", kind="number") for place in range(count)]


def typed(values: np.ndarray) -> Batch:
    """A batch with a column of numbers each."""
    return {f"c{place}": values[:, place].astype(np.float64) for place in range(values.shape[1])}


def answering(function: Function) -> Counted:
    def answers(batch: Batch) -> Batch:
        return {"y": function(np.stack([np.asarray(values, dtype=np.float64) for values in batch.values()], axis=1))}

    return Counted(answers)


def table(row: np.ndarray, background: np.ndarray) -> TablePlayers:
    return TablePlayers(numbers(len(row)), typed(row[None]), typed(background))


TARGET = Target("y")


def exact_shapley(function: Function, row: np.ndarray, background: np.ndarray) -> np.ndarray:
    """By every coalition, each the mean over the whole background."""
    num = len(row)
    worth: dict[frozenset[int], float] = {}
    for size in range(num + 1):
        for coalition in itertools.combinations(range(num), size):
            mixed = background.copy()
            mixed[:, list(coalition)] = row[list(coalition)]
            worth[frozenset(coalition)] = float(function(mixed).mean())
    values = np.zeros(num)
    for player in range(num):
        for coalition, own in worth.items():
            if player not in coalition:
                weight = math.factorial(len(coalition)) * math.factorial(num - len(coalition) - 1) / math.factorial(num)
                values[player] += weight * (worth[coalition | {player}] - own)
    return values


def people(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 6))


def twisted(x: Any) -> Any:
    """Columns that work together by two and by three, and one that does nothing."""
    return 2 * x[:, 0] - x[:, 1] + 3 * x[:, 0] * x[:, 2] * x[:, 3] + np.maximum(x[:, 3], x[:, 4])

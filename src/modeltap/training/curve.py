"""The learning curve of boosted trees, an entry an iteration, and when it no longer falls.

Letters: N samples, F features, C classes, K trees an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.training.trained import Watched

LEAST_PROBABILITY = 1e-15


@dataclass
class Part:
    """Some rows and their scores so far."""

    features: NDArray[np.float64]
    """(N, F)"""
    target: NDArray[Any]
    """(N,)"""
    scores: NDArray[np.float64] | None = None
    """(N, K)"""


class Curve:
    """Follows the trees as they grow. The first iteration of the lowest validation loss is the best one."""

    def __init__(
        self,
        train: Part,
        val: Part | None,
        *,
        num_classes: int,
        absolute: bool,
        weight_C: NDArray[np.float64] | None,
        learning_rate: float,
        patience: int,
        watched: Watched | None = None,
    ) -> None:
        self.entries: list[dict[str, Any]] = []
        self.best = 0
        self.ended = False
        self._train, self._val = train, val
        self._num_classes, self._absolute, self._weight_C = num_classes, absolute, weight_C
        self._learning_rate, self._patience = learning_rate, patience
        self._watched = watched
        self._best_loss = float("inf")

    def follow(self, model: Any, *, since: int, threads: int) -> None:
        """An entry for each iteration from `since`, until `patience` of them in a row were not better; 0 is no end."""
        parts = [part for part in (self._train, self._val) if part is not None]
        for iteration in range(since, len(model._predictors)):
            for part in parts:
                _add_scores(model, part, iteration, threads)
            self._add_entry(iteration + 1, model)
            if self._patience and iteration + 1 - self.best >= self._patience:
                self.ended = True
                return

    def _add_entry(self, number: int, model: Any) -> None:
        train_loss, _ = self._measure(self._train, model)
        entry = {"epoch": number, "train_loss": train_loss}
        if self._val is not None:
            val_loss, metric = self._measure(self._val, model)
            name = "accuracy" if self._num_classes else "rmse"
            if self._watched is not None:
                name, metric = self._watched.name, self._watched.measure(self._answers(self._val, model), self._val.target)
            entry |= {"val_loss": val_loss, f"val_{name}": metric}
            if val_loss < self._best_loss:
                self._best_loss, self.best = val_loss, number
        self.entries.append({**entry, "lr": self._learning_rate})

    def _measure(self, part: Part, model: Any) -> tuple[float, float]:
        """Mean loss and metric: accuracy, or the root of the mean squared error."""
        assert part.scores is not None
        if not self._num_classes:
            error_N = part.scores[:, 0] - part.target
            loss_N = np.abs(error_N) if self._absolute else np.square(error_N)
            return float(loss_N.mean()), float(np.sqrt(np.square(error_N).mean()))
        prob_NC = self._answers(part, model)
        target_prob_N = prob_NC[np.arange(len(prob_NC)), part.target]
        loss_N = -np.log(np.maximum(target_prob_N, LEAST_PROBABILITY))
        if self._weight_C is not None:
            loss_N *= self._weight_C[part.target]
        return float(loss_N.mean()), float((prob_NC.argmax(1) == part.target).mean())

    def _answers(self, part: Part, model: Any) -> NDArray[np.float64]:
        """Probabilities (N, C), or values (N,)."""
        assert part.scores is not None
        if not self._num_classes:
            return part.scores[:, 0]
        prob_NC = np.zeros((len(part.target), self._num_classes))
        prob_NC[:, model.classes_] = model._loss.predict_proba(part.scores)
        return prob_NC


def _add_scores(model: Any, part: Part, iteration: int, threads: int) -> None:
    if part.scores is None:
        shape = (len(part.target), model.n_trees_per_iteration_)
        part.scores = np.zeros(shape, order="F") + model._baseline_prediction
    model._predict_iterations(part.features, model._predictors[iteration : iteration + 1], part.scores, False, threads)

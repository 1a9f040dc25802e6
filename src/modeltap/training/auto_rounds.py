"""On which rows a candidate is trained, and on which it is judged.

Letters: N rows, J rows that a round is judged on, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from modeltap.domain.features import FeatureBatch
from modeltap.training.trained import TrainingData


@dataclass(frozen=True)
class Rounds:
    """One round, judged on the validation part; or a round a fold, which leaves out some of all rows and is judged on them."""

    folds: int
    fold_of: NDArray[np.int64] | None
    """(N,): the fold that leaves each row out; the training part comes first, then the validation part. None is one round."""

    def pooled(self, data: TrainingData) -> TrainingData:
        """With folds all rows are for training."""
        if self.fold_of is None:
            return data
        return TrainingData(
            train=_joined(data.train, data.val),
            train_target=np.concatenate([data.train_target, data.val_target]),
            val=_rows(data.val, slice(0)),
            val_target=data.val_target[:0],
        )

    def data(self, pooled: TrainingData, fold: int) -> TrainingData:
        """What is trained on, and what training is watched on."""
        if self.fold_of is None:
            return pooled
        out = self.fold_of == fold
        return TrainingData(
            train=_rows(pooled.train, ~out),
            train_target=pooled.train_target[~out],
            val=_rows(pooled.train, out),
            val_target=pooled.train_target[out],
        )

    def gather(self, pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The answers to the judged rows, from those of each round."""
        if self.fold_of is None:
            return pieces[0]
        whole = np.empty((len(self.fold_of), *pieces[0].shape[1:]), dtype=np.float32)
        for fold, piece in enumerate(pieces):
            whole[self.fold_of == fold] = piece
        return whole


@dataclass(frozen=True)
class Round:
    """What was trained in one round: trees are a graph already, a network is its weights by their names."""

    graph: onnx.ModelProto | None
    weights: dict[str, NDArray[Any]]
    answer: NDArray[np.float32]
    """To the rows that the round is judged on: (J, C) probabilities or (J,) numbers."""
    history: list[dict[str, Any]]
    best_epoch: int | None


def plan_rounds(target_N: NDArray[Any], *, folds: int, is_class: bool, seed: int) -> Rounds:
    """Folds of equal size, each with its share of every class; one round for fewer than two folds."""
    if folds < 2:
        return Rounds(1, None)
    shuffled = np.random.default_rng(seed).permutation(len(target_N))
    order = shuffled[np.argsort(target_N[shuffled], kind="stable")] if is_class else shuffled
    fold_N = np.empty(len(target_N), dtype=np.int64)
    fold_N[order] = np.arange(len(target_N)) % folds
    return Rounds(folds, fold_N)


def _rows(batch: FeatureBatch, chosen: NDArray[np.bool_] | slice) -> FeatureBatch:
    return FeatureBatch(features=batch.features[chosen], codes=None if batch.codes is None else batch.codes[chosen])


def _joined(first: FeatureBatch, second: FeatureBatch) -> FeatureBatch:
    codes = None if first.codes is None or second.codes is None else np.concatenate([first.codes, second.codes])
    return FeatureBatch(features=np.concatenate([first.features, second.features]), codes=codes)

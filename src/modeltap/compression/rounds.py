"""What a round of pruning reached, kept in one file, so that a runner that follows need not do it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from modeltap.training.checkpoint import read_checkpoint, write_checkpoint


@dataclass(frozen=True)
class Round:
    """A network, as `architecture.json` has it, with its weights, and an entry for every epoch so far."""

    described: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]
    history: list[dict[str, Any]]


def write_round(path: Path, reached: Round, *, run: str) -> None:
    """The file is on the disk when this returns. Raises StorageFailed."""
    tensors = {name: torch.from_numpy(array) for name, array in reached.weights.items()}
    write_checkpoint(path, tensors, {"described": dict(reached.described), "history": reached.history}, run=run)


def read_round(path: Path, *, run: str) -> Round | None:
    """What was written for this run; None if there is none, or a bit of it changed."""
    found = read_checkpoint(path, run=run)
    if found is None:
        return None
    tensors, state = found
    weights = {name: tensor.numpy() for name, tensor in tensors.items()}
    return Round(described=state["described"], weights=weights, history=state["history"])

"""A training by several processes of this machine: written down for them, launched, read from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from modeltap.errors import Broken
from modeltap.training.checkpoint import CHECKPOINT, read_checkpoint
from modeltap.training.distributed.agent import Agent
from modeltap.training.distributed.files import Heard, RanksFolder, Terms
from modeltap.training.standing import Standing, conclude
from modeltap.training.stopped import Stopped

FOLDER = "ranks"


class Kept(NamedTuple):
    """What a training came to."""

    weights: dict[str, torch.Tensor]
    standing: Standing


def train_together(terms: Terms, arrays: Mapping[str, NDArray[Any]], *, epochs: int, heard: Heard) -> Kept:
    """What `distributed.processes` processes came to, or had come to before. epochs: of the loop.

    Raises what training raises in one process, and RanksLost.
    """
    kept = _read_end(terms, epochs)
    if kept is None:
        _launch(terms, arrays, heard)
        kept = _read_end(terms, epochs)
        if kept is None:
            raise Broken("the training processes ended without a word; the job's log may have the reason")
    return kept


def _launch(terms: Terms, arrays: Mapping[str, NDArray[Any]], heard: Heard) -> None:
    folder = RanksFolder(Path(terms.workdir) / FOLDER)
    folder.write(terms, arrays)
    agent = Agent(folder, processes=terms.recipe.distributed.processes, heard=heard)
    try:
        came_to_an_end = agent.launch()
        ended = folder.read_end()
    finally:
        folder.remove()
    if ended is not None and ended.how == "failed":
        raise ended.problem()
    if ended is not None or not came_to_an_end:
        raise Stopped


def _read_end(terms: Terms, epochs: int) -> Kept | None:
    """Weights and standing of the run's checkpoint if that holds its end."""
    found = read_checkpoint(Path(terms.workdir) / CHECKPOINT, run=terms.run)
    if found is None:
        return None
    tensors, state = found
    if not (state["ended"] or state["epoch"] >= epochs):
        return None
    return Kept(*conclude(tensors, state))

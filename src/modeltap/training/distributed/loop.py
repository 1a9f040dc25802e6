"""The training loop of one of several processes: each learns from its share of every batch, all take the same steps.

The means over a batch, a part and an epoch are those that one process alone would have. What hangs on a clock or a person is
decided by the first process, and told to the others every few steps.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modeltap.domain.recipe import Recipe
from modeltap.training.loop import Loop, Rounds
from modeltap.training.standing import Standing

if TYPE_CHECKING:
    from modeltap.training.distributed.group import Ranks

LOOK_EVERY_S = 0.1
"""Between two moments at which the first process tells the others what is due; a person who pauses waits no longer."""
MOST_STEPS = 256
"""Between the same."""


class SharedLoop(Loop):
    """As `Loop`, in each of `ranks`, whose batches are shares; the first alone writes checkpoints. A loop that learns otherwise
    comes after this one among the bases of a class."""

    def __init__(self, module: nn.Module, batches: Rounds, recipe: Recipe, *, ranks: Ranks, **told: Any) -> None:
        super().__init__(module, batches, recipe, **told)
        self._ranks = ranks
        self._asked = ranks.join(module)
        if ranks.share.rank:  # start weights are drawn alike, dropout is not
            torch.manual_seed(_own_seed(recipe.seed, ranks.share.rank))
        self._stops = False
        self._steps_left = self._steps_a_look = 1
        self._looked_at_s = time.monotonic()

    def train(self) -> Standing:
        """As `Loop.train`; afterwards the checkpoint holds the end of the run."""
        standing = super().train()
        self._save()
        return standing

    def _learn(self, order: Any, step: int) -> Tensor:
        """This process's part of the loss of a step's rows: those of all processes add up to it, and so do gradients."""
        loss = super()._learn(order, step)
        self._ranks.add_up()
        return loss

    def _end_epoch(self) -> None:
        self._ranks.align(self._module)
        super()._end_epoch()

    def _must_stop(self) -> bool:
        return self._stops

    def _must_tell(self) -> bool:
        self._steps_left -= 1
        if self._steps_left:
            return False
        tells, stops, steps = self._ranks.first_says([super()._must_tell(), self._stop_requested(), self._next_look()])
        self._stops = bool(stops)
        self._steps_left = self._steps_a_look = int(steps)
        self._looked_at_s = time.monotonic()
        return bool(tells)

    def _next_look(self) -> int:
        """Steps until the next one, by the time that the last ones took."""
        step_s = (time.monotonic() - self._looked_at_s) / self._steps_a_look
        return max(1, min(MOST_STEPS, int(min(LOOK_EVERY_S, self._tick_s) / max(step_s, 1e-6))))

    def _must_save(self, every_s: float) -> bool:
        return bool(self._ranks.first_says([super()._must_save(every_s)])[0])

    def _losses(self) -> Tensor:
        return self._ranks.total(self._standing.losses)

    def _find(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        found = super()._find()
        place = [-1, -1] if found is None else [found[1]["epoch"], found[1]["step"]]
        if self._ranks.first_says(place) != place:
            raise RuntimeError("the training processes read different checkpoints")
        return found

    def _capture(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Of all processes together; whole in the first one."""
        tensors, state = super()._capture()
        tensors["losses"] = self._losses()
        for kind in _generators(self._device):
            for rank, found in enumerate(self._ranks.collect(tensors[kind])):
                tensors[_of_rank(kind, rank)] = found
        return tensors, state

    def _write(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        if self._ranks.share.rank == 0:
            super()._write(tensors, state)

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> Standing:
        rank = self._ranks.share.rank
        own = {kind: tensors[_of_rank(kind, rank)] for kind in _generators(self._device)}
        standing = super()._restore({**tensors, **own}, state)
        if rank:  # what was learned before counts once
            standing.losses = torch.zeros_like(standing.losses)
        return standing


def _generators(device: torch.device) -> list[str]:
    """Names of the random generators in a checkpoint."""
    return ["random.cpu", "random.cuda"] if device.type == "cuda" else ["random.cpu"]


def _of_rank(kind: str, rank: int) -> str:
    return f"{kind}.{rank}" if rank else kind


def _own_seed(seed: int, rank: int) -> int:
    mixed = hashlib.sha256(f"{seed}/rank {rank}".encode()).digest()[:8]
    return int.from_bytes(mixed, "little") & (2**63 - 1)

"""The learning rate over a run, as a fraction of the recipe's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modeltap.domain.recipe import Schedule


@dataclass
class Plateau:
    """How long the validation loss has not fallen, and how often the rate dropped for it."""

    best_loss: float | None = None
    waited: int = 0
    drops: int = 0

    def observe(self, val_loss: float, *, every: int) -> None:
        """Takes note of an epoch's loss; after `every` epochs without a better one, the rate drops once more."""
        if self.best_loss is None or val_loss < self.best_loss:
            self.best_loss, self.waited = val_loss, 0
            return
        self.waited += 1
        if self.waited >= every:
            self.waited, self.drops = 0, self.drops + 1


def rate_fraction(schedule: Schedule, *, step: int, epoch: int, num_steps: int, drops: int = 0) -> float:
    """What the learning rate is multiplied by at `step` of `num_steps` (both counted over the whole run), in epoch `epoch`.

    In the warm-up it rises in a line from 0 to 1; the first step has a rate above 0. Never below the floor afterwards.
    """
    warm_steps = round(schedule.warmup * num_steps)
    if step < warm_steps:
        return (step + 1) / warm_steps
    progress = (step - warm_steps) / max(1, num_steps - warm_steps - 1)
    floor = schedule.floor
    match schedule.name:
        case "constant":
            return 1.0
        case "cosine":
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
        case "linear":
            return floor + (1 - floor) * (1 - progress)
        case "step":
            return float(max(floor, schedule.factor ** (epoch // schedule.every)))
        case "exponential":
            return float(max(floor, schedule.factor**epoch))
        case "plateau":
            return float(max(floor, schedule.factor**drops))

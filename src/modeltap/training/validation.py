"""Loss and metric of a network on the validation part.

Letters: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from modeltap.training.batches import WHOLE, Share, in_order
from modeltap.training.losses import LossFunction

Score = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) → the sum over the rows of what the metric is the mean of."""


def correct(logit_NC: Tensor, target_N: Tensor) -> Tensor:
    """How many rows have their highest logit at their class."""
    return (logit_NC.argmax(1) == target_N).sum(dtype=torch.float64)


def squared_error(value_N1: Tensor, target_N: Tensor) -> Tensor:
    """Sum of squared errors, in the units of the targets."""
    return (value_N1[:, 0].double() - target_N.double()).square().sum()


def validate(
    module: nn.Module,
    inputs: list[Tensor],
    target: Tensor,
    *,
    loss: LossFunction,
    score: Score,
    device: torch.device,
    most_rows: int | None = None,
    share: Share = WHOLE,
    total: Callable[[Tensor], Tensor] = lambda own: own,
) -> tuple[float, float]:
    """Mean loss and mean score. The module must be in evaluation mode. N >= 1.

    share: the rows that this process looks at. total: the sum of what all processes hold, the same in each of them.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    own = slice(*share.of(0, len(target)))
    with torch.no_grad():
        for part, part_target in in_order([tensor[own] for tensor in inputs], target[own], device=device, most_rows=most_rows):
            outputs = module(*part)
            sums[0] += loss(outputs, part_target).double() * len(part_target)
            sums[1] += score(outputs, part_target)
    mean_loss, mean_score = (total(sums) / len(target)).tolist()
    return mean_loss, mean_score

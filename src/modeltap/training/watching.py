"""A network's loss on the validation part with a metric of somebody's own choice.

Letters: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from modeltap.training.losses import LossFunction
from modeltap.training.targets import TargetScale
from modeltap.training.trained import Assignment
from modeltap.training.validation import validate


def watch(
    given: Assignment,
    inputs: list[Tensor],
    target: Tensor,
    *,
    scale: TargetScale | None,
    loss: LossFunction,
    device: torch.device,
    most_rows: int | None,
) -> Callable[[nn.Module], tuple[float, float]]:
    """A function of the module → the mean loss, to the bit as without it, and the watched metric."""
    watched = given.watched
    assert watched is not None

    def validated(module: nn.Module) -> tuple[float, float]:
        answers: list[Tensor] = []

        def keep(outputs: Tensor, _target: Tensor) -> Tensor:
            answers.append(outputs.detach())
            return outputs.new_zeros(())

        mean_loss, _ = validate(module, inputs, target, loss=loss, score=keep, device=device, most_rows=most_rows)
        answer = torch.cat(answers).double()
        answer = torch.softmax(answer, dim=1) if scale is None else answer[:, 0] * scale.std + scale.mean
        return mean_loss, watched.measure(answer.cpu().numpy(), given.data.val_target)

    return validated

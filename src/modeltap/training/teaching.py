"""What a network learns from beside its rows: the answers of a teacher to them. And weights that stay 0 while others learn.

Letters: N samples, C classes.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from modeltap.errors import InvalidData
from modeltap.training.losses import LossFunction
from modeltap.training.targets import TargetScale
from modeltap.training.trained import Teacher

LEAST_PROBABILITY = 1e-7
"""Below it a teacher's probability says nothing but that it is small; trees give 0."""


class Lesson(NamedTuple):
    target: Tensor
    """(N,), or (N, 1 + …) with the teacher's answers behind the truth."""
    loss: LossFunction


def lesson(teacher: Teacher | None, target_N: Tensor, loss: LossFunction, scale: TargetScale | None) -> Lesson:
    """What the loop trains on: the rows alone, or `alpha` of the teacher's answers and the rest of the rows.

    scale: of a regression. Raises InvalidData where the teacher did not answer every row.
    """
    if teacher is None:
        return Lesson(target_N, loss)
    if len(teacher.answer) != len(target_N):
        raise InvalidData(f"the teacher answered {len(teacher.answer)} rows of {len(target_N)}")
    alpha, temperature = teacher.alpha, teacher.temperature
    if scale is None:
        logit_NC = torch.from_numpy(np.log(np.clip(teacher.answer, LEAST_PROBABILITY, 1.0).astype(np.float32)))
        soft_NC = torch.softmax(logit_NC / temperature, dim=1)

        def taught(student_NC: Tensor, target: Tensor) -> Tensor:
            """Gradients of softened probabilities are smaller by the temperature's square."""
            soft = functional.kl_div(torch.log_softmax(student_NC / temperature, dim=1), target[:, 1:], reduction="batchmean")
            return alpha * temperature**2 * soft + (1 - alpha) * loss(student_NC, target[:, 0].long())

        return Lesson(torch.cat([target_N[:, None].float(), soft_NC], dim=1), taught)
    taught_N = torch.from_numpy(scale.scale(teacher.answer))

    def taught_number(student_N1: Tensor, target: Tensor) -> Tensor:
        return alpha * functional.mse_loss(student_N1[:, 0], target[:, 1]) + (1 - alpha) * loss(student_N1, target[:, 0])

    return Lesson(torch.stack([target_N, taught_N], dim=1), taught_number)


def hold_zeros(module: nn.Module) -> None:
    """Weights that are 0 now stay 0: their gradients are 0 from here on."""
    for parameter in module.parameters():
        kept = parameter.detach() != 0
        if parameter.dim() > 1 and not bool(kept.all()):
            parameter.register_hook(partial(torch.mul, kept))  # type: ignore[no-untyped-call]


def teacher_digest(teacher: Teacher | None) -> str:
    """Names what is taught; a run that learns something else is another run."""
    if teacher is None:
        return ""
    facts = f"{teacher.temperature}/{teacher.alpha}/{teacher.answer.shape}".encode()
    return hashlib.sha256(facts + np.ascontiguousarray(teacher.answer).tobytes()).hexdigest()

"""What training makes small: the mean loss of a batch.

Letters: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from modeltap.domain.recipe import Loss
from modeltap.errors import InvalidRecipe

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(outputs (N, C) or (N, 1), targets (N,)) → the mean over the batch."""


def class_loss(loss: Loss, weight_C: Tensor | None) -> LossFunction:
    """Cross-entropy of logits. A sample's loss is multiplied by the weight of its class, and the mean taken over samples.

    Raises InvalidRecipe for a loss of numbers.
    """
    if loss.name not in ("auto", "cross-entropy"):
        raise InvalidRecipe(f"loss '{loss.name}' is for numbers; classes have cross-entropy")
    smoothing = loss.label_smoothing
    if weight_C is None:
        return lambda logit_NC, target_N: functional.cross_entropy(logit_NC, target_N, label_smoothing=smoothing)
    weights = weight_C

    def weighted(logit_NC: Tensor, target_N: Tensor) -> Tensor:
        loss_N = functional.cross_entropy(logit_NC, target_N, label_smoothing=smoothing, reduction="none")
        return (loss_N * torch.index_select(weights, 0, target_N)).mean()

    return weighted


def number_loss(loss: Loss) -> LossFunction:
    """Mean squared, absolute or Huber error, in units of the (standardised) target. Raises InvalidRecipe for class losses."""
    delta = loss.delta
    if loss.label_smoothing or loss.class_weights is not None:
        raise InvalidRecipe("loss.label_smoothing and loss.class_weights are for classes; remove them")
    match loss.name:
        case "auto" | "mse":
            return lambda value_N1, target_N: functional.mse_loss(value_N1[:, 0], target_N)
        case "mae":
            return lambda value_N1, target_N: functional.l1_loss(value_N1[:, 0], target_N)
        case "huber":
            return lambda value_N1, target_N: functional.huber_loss(value_N1[:, 0], target_N, delta=delta)
    raise InvalidRecipe(f"loss '{loss.name}' is for classes; numbers have mse, mae or huber")

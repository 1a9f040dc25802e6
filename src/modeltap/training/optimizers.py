"""What changes the weights, and the penalties on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from modeltap.domain.recipe import Optimizer
from modeltap.errors import InvalidRecipe


def penalised(module: nn.Module) -> list[Tensor]:
    """The weights that penalties and decay apply to: kernels and tables, but no biases and nothing of a normalisation."""
    return [parameter for parameter in module.parameters() if parameter.ndim >= 2 and parameter.requires_grad]


def make_optimizer(settings: Optimizer, module: nn.Module) -> torch.optim.Optimizer:
    """torch's optimizer, in its fused form where there is one.

    Raises InvalidRecipe for weight_decay without adamw, and for a module without weights.
    """
    if settings.weight_decay and settings.name != "adamw":
        raise InvalidRecipe("optimizer.weight_decay is for adamw; for the others use optimizer.l2")
    weights = penalised(module)
    decayed = {id(weight) for weight in weights}
    others = [parameter for parameter in module.parameters() if parameter.requires_grad and id(parameter) not in decayed]
    groups: list[dict[str, Any]] = [{"params": [*weights, *others]}]
    if settings.weight_decay:  # a group costs as much time at each step as its work
        groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InvalidRecipe("model: these layers have no weights, so there is nothing to train; add dense")
    lr = settings.lr
    match settings.name:
        case "sgd":
            return SGD(groups, lr, fused=True)
        case "momentum":
            return SGD(groups, lr, momentum=settings.momentum, fused=True)
        case "nesterov":
            return SGD(groups, lr, momentum=settings.momentum, nesterov=True, fused=True)
        case "adam":
            return Adam(groups, lr, betas=settings.betas, eps=settings.eps, fused=True)
        case "adamw":
            decay = settings.weight_decay
            return AdamW(groups, lr, betas=settings.betas, eps=settings.eps, weight_decay=decay, fused=True)
        case "rmsprop":
            return RMSprop(groups, lr, alpha=0.9, eps=settings.eps, momentum=settings.momentum, foreach=True)


def add_penalties(weights: list[Tensor], *, l1: float, l2: float) -> None:
    """Adds the gradient of l1 * sum |w| + l2 * sum w², which is l1 * sign(w) + 2 * l2 * w, to the weights' gradients.

    One foreach call each, exact for every optimizer, and no norm is computed; the penalties are not part of the loss shown.
    """
    held = [weight for weight in weights if weight.grad is not None]
    gradients = [weight.grad for weight in held if weight.grad is not None]
    with torch.no_grad():
        if l1:
            torch._foreach_add_(gradients, torch._foreach_sign(held), alpha=l1)
        if l2:
            torch._foreach_add_(gradients, held, alpha=2 * l2)

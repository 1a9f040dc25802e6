"""How far a run has come: everything beside the weights that it needs to go on as if it had never stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from modeltap.training.schedules import Plateau


@dataclass
class Standing:
    """`epoch` counts those that ended; `step` those of the epoch at hand that were taken."""

    losses: Tensor
    """Of each step of the epoch at hand."""
    epoch: int = 0
    step: int = 0
    ended: bool = False
    """Early: the validation loss no longer fell."""
    best_loss: float | None = None
    best_epoch: int | None = None
    waited: int = 0
    """Epochs since the best one."""
    best_weights: dict[str, Tensor] | None = None
    plateau: Plateau = field(default_factory=Plateau)
    history: list[dict[str, Any]] = field(default_factory=list)

    def observe(self, val_loss: float, module: nn.Module, *, patience: int, min_delta: float) -> None:
        """Keeps the weights if the loss fell by more than `min_delta`; ends the run after `patience` epochs without that."""
        if self.best_loss is None or val_loss < self.best_loss - min_delta:
            self.best_loss, self.best_epoch, self.waited = val_loss, self.epoch, 0
            self.best_weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
            return
        self.waited += 1
        self.ended = self.waited >= patience


_TENSORS = ("losses", "best_weights")


def capture(
    standing: Standing, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain values from which `restore` makes the same standing, weights, optimizer and random generator."""
    tensors = {"losses": standing.losses, "random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    tensors |= {f"weights.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in (standing.best_weights or {}).items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": tensor for slot, tensor in slots.items() if tensor is not None}
    state = {name: value for name, value in vars(standing).items() if name not in _TENSORS}
    return tensors, {**state, "plateau": asdict(standing.plateau)}


def restore(
    tensors: dict[str, Tensor],
    state: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> Standing:
    """The standing that was captured; module, optimizer and random generator are as they were then."""
    module.load_state_dict(_under(tensors, "weights."))
    held = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    held["state"] = {}
    for name, tensor in _under(tensors, "optimizer.").items():
        index, slot = name.split(".", 1)
        held["state"].setdefault(int(index), {})[slot] = _like(tensor, parameters[int(index)])
    optimizer.load_state_dict(held)
    standing = _standing(tensors, state, device)
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
    return standing


def conclude(tensors: dict[str, Tensor], state: dict[str, Any]) -> tuple[dict[str, Tensor], Standing]:
    """Of a capture after the last epoch: the weights to keep, which are the best where some were noted, and the standing."""
    standing = _standing(tensors, state, torch.device("cpu"))
    return standing.best_weights or _under(tensors, "weights."), standing


def _standing(tensors: dict[str, Tensor], state: dict[str, Any], device: torch.device) -> Standing:
    best = _under(tensors, "best.")
    return Standing(
        losses=tensors["losses"].to(device),
        best_weights={name: tensor.to(device) for name, tensor in best.items()} or None,
        **{**state, "plateau": Plateau(**state["plateau"])},
    )


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """In the parameter's memory order, which a fused optimizer takes for granted."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)

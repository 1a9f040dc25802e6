"""The training loop over tokens: a batch may be taken in pieces, and what is learned of it is a mean over its tokens.

Letters: B texts, T tokens, V ids of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeltap.bundle.environment import cpu_features
from modeltap.training.language.batches import UNLEARNED
from modeltap.training.language.network import Gpt
from modeltap.training.language.passes import products
from modeltap.training.loop import Loop

OWN_BFLOAT16_WIDTH, BFLOAT16_WIDTH = 64, 256
"""From these widths on, a processor with matrix units for bfloat16 trains faster with it than with float32: our own network,
which is told so product by product, and those of transformers, which are told as a whole. Measured."""


class Trainee(nn.Module):
    """Ids (B, T) → logits (B, T, V) of any of the networks. Its state is what is trained: of LoRA the small matrices alone."""

    def __init__(self, network: nn.Module, *, autocast: bool) -> None:
        super().__init__()
        self.network = network
        self._autocast = autocast

    def forward(self, id_BT: Tensor) -> Tensor:
        with self._precision(id_BT.device.type):
            given = (
                self.network(id_BT) if isinstance(self.network, Gpt) else self.network(input_ids=id_BT, use_cache=False).logits
            )
        logits: Tensor = given
        return logits

    def products(self, device: torch.device) -> AbstractContextManager[None]:
        """Inside, forward and backward passes multiply as they should."""
        return products("bf16" if self._autocast and self._is_told_by_product(device.type) else "ieee")

    def state_dict(self, *arguments: Any, **keys: Any) -> Any:
        return {name: parameter.detach() for name, parameter in self._trained()}

    def load_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any, **keys: Any) -> Any:
        with torch.no_grad():
            for name, parameter in self._trained():
                parameter.copy_(state_dict[name])

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, parameter) for name, parameter in self.network.named_parameters() if parameter.requires_grad)

    def _precision(self, device: str) -> AbstractContextManager[Any]:
        if not self._autocast or self._is_told_by_product(device):
            return nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16)

    def _is_told_by_product(self, device: str) -> bool:
        return device == "cpu" and isinstance(self.network, Gpt)


class LanguageLoop(Loop):
    """Batches are those of `RoundBatches`."""

    def _learn(self, order: Any, step: int) -> Tensor:
        pieces, num_learned = self._batches.gather(order, step)
        losses = []
        for id_BT, target_BT in pieces:
            loss = token_losses(self._asked(id_BT), target_BT, reduction="sum") / num_learned
            loss.backward()
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def token_losses(logit_BTV: Tensor, target_BT: Tensor, *, reduction: str = "none") -> Tensor:
    """(B * T,), float32: the negative log-probability of each token, 0 where nothing is learned; or their sum."""
    return functional.cross_entropy(
        logit_BTV.flatten(0, 1).float(), target_BT.flatten(), ignore_index=UNLEARNED, reduction=reduction
    )


def takes_bfloat16(wanted: str, *, device: torch.device, width: int, is_own: bool = False) -> bool:
    """Whether products are computed in bfloat16: as the recipe says, or by what the device has, never by the clock."""
    if wanted != "auto":
        return wanted == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return "amx_bf16" in cpu_features() and width >= (OWN_BFLOAT16_WIDTH if is_own else BFLOAT16_WIDTH)

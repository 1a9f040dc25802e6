"""How surprised a model is by texts, row by row.

Letters: N rows, V ids of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modeltap.data.tokenizer import Tokenizer
from modeltap.training.batches import WHOLE, Share
from modeltap.training.language.batches import UNLEARNED, Learned
from modeltap.training.language.loop import token_losses

Floats = NDArray[np.float64]
MAX_TOKENS = 1 << 13
"""Computed at a time."""


@dataclass(frozen=True)
class Surprise:
    """Of each row, (N,): the sum of its tokens' negative log-probabilities, how many tokens and how many bytes they are."""

    nats: Floats
    tokens: Floats
    bytes: Floats

    @property
    def loss(self) -> float:
        """Mean over the tokens."""
        return float(self.nats.sum() / self.tokens.sum())


def byte_lengths(tokenizer: Tokenizer) -> Tensor:
    """(V,): bytes of text that each id stands for; special tokens stand for none."""
    special = tokenizer.special_ids
    lengths = [0 if number in special else len(tokenizer.token_bytes(number)) for number in range(tokenizer.vocabulary)]
    return torch.tensor(lengths, dtype=torch.float64)


def measure(
    module: nn.Module,
    learned: Learned,
    *,
    bytes_V: Tensor,
    device: torch.device,
    rows: int | None = None,
    share: Share = WHOLE,
) -> Surprise:
    """Of all rows, or of so many spread over them; of these the share, which may be none. The module must be in evaluation
    mode."""
    chosen = np.unique(np.linspace(0, learned.num_rows - 1, rows or learned.num_rows).astype(np.int64))
    chosen = chosen[slice(*share.of(0, len(chosen)))]
    if not len(chosen):
        return Surprise(np.zeros(0), np.zeros(0), np.zeros(0))
    lengths = learned.lengths(chosen)
    longest = int(lengths.max()) if lengths is not None else learned.cut(chosen[:1], pass_=0)[0].shape[1]
    size = max(1, MAX_TOKENS // max(1, longest))
    sums: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(chosen), size):
            ids, targets = learned.cut(chosen[start : start + size], pass_=0)
            losses = token_losses(module(ids.to(device)), targets.to(device)).view(targets.shape).cpu().double()
            known = targets != UNLEARNED
            text = torch.where(known, bytes_V[targets.clamp(min=0)], 0.0)
            sums.append(torch.stack((losses.sum(1), known.sum(1).double(), text.sum(1))))
    nats, tokens, sizes = torch.cat(sums, dim=1).numpy()
    return Surprise(nats=nats, tokens=tokens, bytes=sizes)

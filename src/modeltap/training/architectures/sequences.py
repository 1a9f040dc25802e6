"""What modules that read ids share: where a row ends.

Letters: N texts, T ids of a text, D numbers of a state.
"""

from __future__ import annotations

from torch import Tensor


def without_filling(ids_NT: Tensor, padding: int) -> Tensor:
    """The batch as long as its longest row, for training alone: a graph cannot be cut by what is in it."""
    longest = int((ids_NT != padding).sum(1).max())
    return ids_NT[:, : max(longest, 1)]


def masked_mean(state_NTD: Tensor, there_NT: Tensor) -> Tensor:
    """(N, D): the mean over the ids that are no filling."""
    weight_NT1 = there_NT.unsqueeze(2).to(state_NTD.dtype)
    return (state_NTD * weight_NT1).sum(1) / weight_NT1.sum(1).clamp_min(1.0)

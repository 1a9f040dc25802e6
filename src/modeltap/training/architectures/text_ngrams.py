"""Logistic regression on n-grams, each weighted by how rare it is, every text scaled to length 1.

Letters: N texts, T n-grams of a text, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modeltap.domain.features import FeatureSpec
from modeltap.recipe.text_architectures import NGramOptions
from modeltap.training.architectures.sequences import without_filling


class NGramLinear(nn.Module):
    """A weight an n-gram and class. `rarity`, 0 for what fills up, is part of what it begins with."""

    rarity: Tensor

    def __init__(self, vocabulary: int, num_outputs: int) -> None:
        super().__init__()
        self.weights = nn.Embedding(vocabulary, num_outputs)
        nn.init.zeros_(self.weights.weight)
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        rarity = torch.ones(vocabulary)
        rarity[0] = 0
        self.register_buffer("rarity", rarity)

    def forward(self, ids_NT: Tensor) -> Tensor:
        ids_NT = without_filling(ids_NT, 0) if self.training else ids_NT
        rarity_NT = self.rarity[ids_NT]
        length_N1 = rarity_NT.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()
        score_NC = (self.weights(ids_NT) * rarity_NT.unsqueeze(2)).sum(1) / length_N1
        logit_NC: Tensor = score_NC + self.bias
        return logit_NC


def build(options: NGramOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    return NGramLinear(max(spec.cardinalities), num_outputs)

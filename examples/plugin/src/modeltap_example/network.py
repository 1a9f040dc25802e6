"""The torch module of `residual-mlp`; imported only in the process that trains."""

from __future__ import annotations

import math

from torch import Tensor, nn

from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap_example.architecture import ResidualMlpOptions


class Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout))

    def forward(self, given: Tensor) -> Tensor:
        change: Tensor = self.change(given)
        return given + change


def build(options: ResidualMlpOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """A module from features (N, *shape) to (N, num_outputs) logits or values. Raises InvalidRecipe for embedded categories."""
    if spec.cardinalities or not spec.shape:
        raise InvalidRecipe("model: residual-mlp reads numbers; set data.transforms.categories: one-hot")
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(spec.shape), options.width),
        *(Block(options.width, options.dropout) for _ in range(options.blocks)),
        nn.Linear(options.width, num_outputs),
    )

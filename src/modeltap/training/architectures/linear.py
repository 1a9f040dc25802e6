"""Linear and logistic regression."""

from __future__ import annotations

import math

from torch import Tensor, nn

from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import LinearOptions
from modeltap.training.architectures.starting import glorot


class Linear(nn.Module):
    """One weight a feature and output, and one a category and output."""

    def __init__(self, spec: FeatureSpec, num_outputs: int) -> None:
        super().__init__()
        self.takes_features = bool(spec.shape)
        if self.takes_features:
            self.features = glorot(nn.Linear(math.prod(spec.shape), num_outputs))
        self.categories = nn.ModuleList(nn.Embedding(size, num_outputs) for size in spec.cardinalities)
        for table in self.categories:
            nn.init.zeros_(table.weight)  # type: ignore[arg-type]

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = [self.features(inputs[0].flatten(1))] if self.takes_features else []
        parts += [table(inputs[-1][:, column]) for column, table in enumerate(self.categories)]
        total: Tensor = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def build(options: LinearOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """The module. Raises InvalidRecipe if the data has no features."""
    if not spec.shape and not spec.cardinalities:
        raise InvalidRecipe("model: the data has no features for this architecture")
    return Linear(spec, num_outputs)

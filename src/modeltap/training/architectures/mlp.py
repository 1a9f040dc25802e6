"""Fully connected layers over numbers and embedded categories."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import MlpOptions
from modeltap.training.architectures.activations import activation_module
from modeltap.training.architectures.starting import glorot, uniform


class Columns(nn.Module):
    """Numbers (flattened), and an embedding of each column of categories, beside each other in one row."""

    def __init__(self, spec: FeatureSpec, widths: Sequence[int]) -> None:
        super().__init__()
        self.takes_features = bool(spec.shape)
        self.tables = nn.ModuleList(
            uniform(nn.Embedding(size, width)) for size, width in zip(spec.cardinalities, widths, strict=True)
        )
        self.width = (math.prod(spec.shape) if spec.shape else 0) + sum(widths)

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = [inputs[0].flatten(1)] if self.takes_features else []
        parts += [table(inputs[-1][:, column]) for column, table in enumerate(self.tables)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class Mlp(nn.Module):
    def __init__(self, columns: Columns, layers: nn.Sequential) -> None:
        super().__init__()
        self.columns = columns
        self.layers = layers

    def forward(self, *inputs: Tensor) -> Tensor:
        answer: Tensor = self.layers(self.columns(*inputs))
        return answer


def embedding_width(cardinality: int) -> int:
    """Columns of a category's embedding: 1.6 times the number of categories to the power 0.56, at most 50.

    Source: the rule of fastai's tabular learner, with a smaller bound.
    """
    return min(50, round(1.6 * math.pow(cardinality, 0.56)))


def build(options: MlpOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """The module. Raises InvalidRecipe if the data has no features."""
    widths = [
        embedding_width(size) if options.embedding_dim == "auto" else options.embedding_dim for size in spec.cardinalities
    ]
    columns = Columns(spec, widths)
    if not columns.width:
        raise InvalidRecipe("model: the data has no features for this architecture")
    layers: list[nn.Module] = []
    width = columns.width
    for hidden in options.hidden:
        layers.append(glorot(nn.Linear(width, hidden, bias=not options.batch_norm)))
        if options.batch_norm:
            layers.append(nn.BatchNorm1d(hidden))
        activation = activation_module(options.activation)
        layers += [] if activation is None else [activation]
        if options.dropout:
            layers.append(nn.Dropout(options.dropout))
        width = hidden
    return Mlp(columns, nn.Sequential(*layers, glorot(nn.Linear(width, num_outputs))))

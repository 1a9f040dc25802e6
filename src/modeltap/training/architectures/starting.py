"""Start weights as Keras draws them, from torch's seeded generator."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Kernel = TypeVar("Kernel", nn.Linear, nn.Conv2d)


def glorot(layer: Kernel) -> Kernel:
    """The layer with Glorot uniform weights and biases of 0."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def uniform(table: nn.Embedding) -> nn.Embedding:
    """The table with weights uniform in ±0.05."""
    nn.init.uniform_(table.weight, -0.05, 0.05)
    return table


def orthogonal(cells: nn.LSTM | nn.GRU) -> None:
    """Sets input weights Glorot uniform, recurrent weights orthogonal, and biases 0; an LSTM starts with open forget gates
    (bias 1)."""
    for name, parameter in cells.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)
            if name.startswith("bias_ih") and isinstance(cells, nn.LSTM):
                nn.init.ones_(parameter[cells.hidden_size : 2 * cells.hidden_size])

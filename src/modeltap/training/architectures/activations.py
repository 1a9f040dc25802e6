"""Activation functions by name, with the constants that Keras gives them."""

from __future__ import annotations

from torch import nn


def activation_module(name: str, *, axis: int = -1) -> nn.Module | None:
    """The function as a module; None for `linear`. `axis` is the one that softmax sums over."""
    match name:
        case "linear":
            return None
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            return nn.LeakyReLU(0.2)
        case "gelu":
            return nn.GELU()
        case "elu":
            return nn.ELU()
        case "selu":
            return nn.SELU()
        case "tanh":
            return nn.Tanh()
        case "sigmoid":
            return nn.Sigmoid()
        case "softmax":
            return nn.Softmax(axis)
        case "softplus":
            return nn.Softplus()
        case "swish" | "silu":
            return nn.SiLU()
    raise KeyError(name)

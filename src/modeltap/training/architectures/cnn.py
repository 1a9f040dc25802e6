"""Blocks of convolution and maximum for pictures, then fully connected layers: written as the layers of a `sequential`."""

from __future__ import annotations

from torch import nn

from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import CnnOptions
from modeltap.recipe.layers import ActivationLayer as Function
from modeltap.recipe.layers import BatchNorm, Conv2d, Dense, Dropout, Layer, LayerKeys, Pool2d
from modeltap.training.architectures.sequential import build_layers


def build(options: CnnOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """The module. Raises InvalidRecipe if the features are no pictures."""
    if spec.cardinalities or len(spec.shape) not in (2, 3):
        shape = "x".join(str(extent) for extent in spec.shape) or "tokens"
        raise InvalidRecipe(f"model: cnn reads pictures (height, width, channels), the data has {shape}; use mlp")
    return build_layers(_layers(options, spec.shape, num_outputs), spec, num_outputs)


def _layers(options: CnnOptions, shape: tuple[int, ...], num_outputs: int) -> list[Layer]:
    layers: list[Layer] = []
    smallest = min(shape[:2])
    for block, filters in enumerate(options.filters):
        name = f"block{block}"
        keys = Conv2d(name=name, filters=filters, kernel=options.kernel, padding="same", bias=not options.batch_norm)
        layers.append(Layer("conv2d", keys))
        if options.batch_norm:
            layers.append(Layer("batchnorm", BatchNorm(name=f"{name}_norm")))
        layers.append(Layer("activation", Function(name=options.activation)))
        if smallest >= 2:
            layers.append(Layer("maxpool2d", Pool2d()))
            smallest //= 2
    layers.append(Layer("flatten", LayerKeys()))
    if options.dense:
        layers.append(Layer("dense", Dense(name="dense", units=options.dense, activation=options.activation)))
    if options.dropout:
        layers.append(Layer("dropout", Dropout(rate=options.dropout)))
    layers.append(Layer("dense", Dense(name="answer", units=num_outputs)))
    return layers

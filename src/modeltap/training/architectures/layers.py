"""One function a kind of layer: its keys → torch modules on the stack."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from modeltap.recipe.layers import (
    ActivationLayer,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Layer,
    LayerKeys,
    Pool2d,
    Recurrent,
    Reshape,
)
from modeltap.training.architectures import modules
from modeltap.training.architectures.stack import Stack
from modeltap.training.architectures.starting import glorot, orthogonal

Border = tuple[int, int, int, int]


def stack_layer(stack: Stack, layer: Layer, name: str) -> None:
    """Puts the layer's modules on the stack. Raises InvalidRecipe where what arrives does not fit."""
    _STACK[layer.kind](stack, layer.keys, name)


def _dense(stack: Stack, keys: Dense, name: str) -> None:
    if len(stack.shape) not in (1, 2):
        raise stack.refuse(f"a flat input is needed, {stack.arrived} arrives; put flatten before it")
    stack.add(name, glorot(nn.Linear(stack.shape[-1], keys.units, bias=keys.bias)), (*stack.shape[:-1], keys.units))
    stack.add_activation(f"{name}_{keys.activation}", keys.activation)


def _conv2d(stack: Stack, keys: Conv2d, name: str) -> None:
    channels, height, width = stack.image(name)
    kernel, stride = _pair(keys.kernel), _pair(keys.stride)
    (height, width), border = _windows(stack, (height, width), kernel, stride, keys.padding)
    left, right, top, bottom = border
    even = left == right and top == bottom
    if not even:
        stack.add(f"{name}_pad", modules.Pad(border, value=0.0), stack.shape)
    convolution = nn.Conv2d(channels, keys.filters, kernel, stride, (top, left) if even else 0, bias=keys.bias)
    stack.add(name, glorot(convolution), stack.image_shape(keys.filters, height, width))
    stack.add_activation(f"{name}_{keys.activation}", keys.activation)


def _maxpool2d(stack: Stack, keys: Pool2d, name: str) -> None:
    channels, height, width = stack.image(name)
    size = _pair(keys.size)
    stride = _pair(keys.stride or keys.size)
    (height, width), border = _windows(stack, (height, width), size, stride, keys.padding)
    relu = stack.take_relu()
    if any(border):
        stack.add(f"{name}_pad", modules.Pad(border, value=-math.inf), stack.shape)
    stack.add(name, nn.MaxPool2d(size, stride), stack.image_shape(channels, height, width))
    if relu is not None:
        stack.add(*relu, stack.shape)


def _avgpool2d(stack: Stack, keys: Pool2d, name: str) -> None:
    channels, height, width = stack.image(name)
    size = _pair(keys.size)
    stride = _pair(keys.stride or keys.size)
    after, border = _windows(stack, (height, width), size, stride, keys.padding)
    pool = modules.AveragePool(size=size, stride=stride, border=border, image=(height, width))
    stack.add(name, pool, stack.image_shape(channels, *after))


def _globalavgpool2d(stack: Stack, keys: LayerKeys, name: str) -> None:
    channels, _, _ = stack.image(name)
    stack.add(name, modules.GlobalAverage(), (channels,))
    stack.leave_image()


def _flatten(stack: Stack, keys: LayerKeys, name: str) -> None:
    stack.in_layout(name)
    stack.add(name, nn.Flatten(), (math.prod(stack.shape),))


def _reshape(stack: Stack, keys: Reshape, name: str) -> None:
    size, known = math.prod(stack.shape), math.prod(extent for extent in keys.shape if extent != -1)
    open_axes = keys.shape.count(-1)
    if 0 in keys.shape or open_axes > 1 or size % known or (not open_axes and known != size):
        raise stack.refuse(f"{stack.arrived} ({size} numbers) cannot become {list(keys.shape)}")
    shape = tuple(size // known if extent == -1 else extent for extent in keys.shape)
    stack.in_layout(name)
    stack.add(name, modules.Reshape(shape), shape)


def _dropout(stack: Stack, keys: Dropout, name: str) -> None:
    stack.add(name, nn.Dropout(keys.rate), stack.shape)


def _batchnorm(stack: Stack, keys: BatchNorm, name: str) -> None:
    settings: dict[str, Any] = {"eps": keys.epsilon, "momentum": 1 - keys.momentum}
    if len(stack.shape) == 3:
        channels, _, _ = stack.image(name)
        stack.add(name, nn.BatchNorm2d(channels, **settings), stack.shape)
    elif len(stack.shape) == 2:
        stack.add(name, modules.SequenceNorm(nn.BatchNorm1d(stack.shape[-1], **settings)), stack.shape)
    elif len(stack.shape) == 1:
        stack.add(name, nn.BatchNorm1d(stack.shape[0], **settings), stack.shape)
    else:
        raise stack.refuse(f"1 to 3 axes are needed, {stack.arrived} arrives")


def _activation(stack: Stack, keys: ActivationLayer, name: str) -> None:
    stack.add_activation(name, keys.name)


def _recurrent(cells: type[nn.LSTM] | type[nn.GRU]) -> Callable[[Stack, Recurrent, str], None]:
    def stack_recurrent(stack: Stack, keys: Recurrent, name: str) -> None:
        if len(stack.shape) != 2:
            raise stack.refuse(
                f"a sequence (steps, features) is needed, {stack.arrived} arrives; put embedding or reshape before it"
            )
        steps, features = stack.shape
        width = keys.units * (2 if keys.bidirectional else 1)
        layer = cells(features, keys.units, batch_first=True, bidirectional=keys.bidirectional)
        orthogonal(layer)
        shape = (steps, width) if keys.return_sequences else (width,)
        stack.add(name, modules.Recurrence(layer, return_sequences=keys.return_sequences), shape)

    return stack_recurrent


def _embedding(stack: Stack, keys: Any, name: str) -> None:
    raise stack.refuse("embedding reads tokens, so it can only be the first layer")


def _pair(extent: int | tuple[int, ...]) -> tuple[int, int]:
    return (extent, extent) if isinstance(extent, int) else (extent[0], extent[1])


def _windows(
    stack: Stack, image: tuple[int, int], size: tuple[int, int], stride: tuple[int, int], padding: str
) -> tuple[tuple[int, int], Border]:
    """How many windows fit, and the border that padding adds: as Keras does, the odd pixel at the right and the bottom."""
    if padding == "valid":
        if size[0] > image[0] or size[1] > image[1]:
            raise stack.refuse(
                f"a window of {size[0]}x{size[1]} does not fit into an image of {image[0]}x{image[1]};"
                " make it smaller, or set padding: same"
            )
        return ((image[0] - size[0]) // stride[0] + 1, (image[1] - size[1]) // stride[1] + 1), (0, 0, 0, 0)
    windows = [math.ceil(image[axis] / stride[axis]) for axis in (0, 1)]
    missing = [max((windows[axis] - 1) * stride[axis] + size[axis] - image[axis], 0) for axis in (0, 1)]
    top, left = missing[0] // 2, missing[1] // 2
    return (windows[0], windows[1]), (left, missing[1] - left, top, missing[0] - top)


_STACK: dict[str, Callable[[Stack, Any, str], None]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "maxpool2d": _maxpool2d,
    "avgpool2d": _avgpool2d,
    "globalavgpool2d": _globalavgpool2d,
    "flatten": _flatten,
    "reshape": _reshape,
    "dropout": _dropout,
    "batchnorm": _batchnorm,
    "activation": _activation,
    "lstm": _recurrent(nn.LSTM),
    "gru": _recurrent(nn.GRU),
    "embedding": _embedding,
}

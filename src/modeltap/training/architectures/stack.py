"""Layers put on each other: what shape leaves each, in which order of axes, and a clear error where one does not fit.

Letters: H height, W width, C channels, T steps of a sequence.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from modeltap.errors import InvalidRecipe
from modeltap.training.architectures.activations import activation_module
from modeltap.training.architectures.modules import AddChannel, ChannelsFirst, ChannelsLast


class Stack:
    """Modules so far and the shape (of one sample, in the layout's order of axes) that leaves the last of them.

    With layout nhwc an image is NHWC to the recipe, and an NCHW view in channels_last memory to the modules: convolution and
    pooling are fastest so, and going over costs no copy.
    """

    def __init__(self, shape: tuple[int, ...], *, layout: str) -> None:
        self.shape = shape
        self.layout = layout
        self._given = shape
        self.where = "model"
        self._viewed_first = False
        self._modules: OrderedDict[str, nn.Module] = OrderedDict()

    @property
    def channel_axis(self) -> int:
        """Of the tensor in hand, for one that has three axes beside the sample's; else the last."""
        return 1 if len(self.shape) == 3 and (self._viewed_first or self.layout == "nchw") else -1

    def add(self, name: str, module: nn.Module, shape: tuple[int, ...]) -> None:
        """Puts a module on top; `shape` is what leaves it."""
        if name in self._modules:
            raise self.refuse(f"the name '{name}' is taken by another layer; names must differ")
        self._modules[name] = module
        self.shape = shape

    def add_activation(self, name: str, function: str) -> None:
        module = activation_module(function, axis=self.channel_axis)
        if module is not None:
            self.add(name, module, self.shape)

    def take_relu(self) -> tuple[str, nn.Module] | None:
        """The relu on top, taken off, or None. A maximum of relus is the relu of the maximum, to the last bit in both
        directions, and there are fewer numbers after the maximum."""
        if not self._modules or not isinstance(next(reversed(self._modules.values())), nn.ReLU):
            return None
        return self._modules.popitem()

    def image(self, name: str) -> tuple[int, int, int]:
        """Channels, height and width of the image in hand, which is NCHW from here on.

        What was given as (H, W) gets one channel. Raises InvalidRecipe for anything that is no image.
        """
        if len(self.shape) == 2 and self.shape == self._given:
            axis = 1 if self.layout == "nchw" else 3
            self.add(f"{name}_channel", AddChannel(axis=axis), (1, *self.shape) if axis == 1 else (*self.shape, 1))
        if len(self.shape) != 3:
            raise self.refuse(
                f"an image (height, width, channels) is needed, {self.arrived} arrives; put reshape before it, or remove it"
            )
        if self.layout == "nchw":
            return self.shape[0], self.shape[1], self.shape[2]
        if not self._viewed_first:
            self.add(f"{name}_channels_first", ChannelsFirst(), self.shape)
            self._viewed_first = True
        return self.shape[2], self.shape[0], self.shape[1]

    def image_shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """The same extents in the layout's order."""
        return (channels, height, width) if self.layout == "nchw" else (height, width, channels)

    def in_layout(self, name: str) -> None:
        """From here on the tensor's axes are in the layout's order."""
        if self._viewed_first:
            self.add(f"{name}_channels_last", ChannelsLast(), self.shape)
            self._viewed_first = False

    def leave_image(self) -> None:
        """The module put on last took the image's axes away."""
        self._viewed_first = False

    @property
    def arrived(self) -> str:
        return "x".join(str(extent) for extent in self.shape) or "a single number"

    def refuse(self, what: str) -> InvalidRecipe:
        return InvalidRecipe(f"{self.where}: {what}", fields=[(self.where, what)])

    def module(self) -> nn.Sequential:
        """All modules in their order, kernels of convolutions in channels_last memory where the layout is nhwc."""
        stacked = nn.Sequential(self._modules)
        if self.layout == "nhwc":
            stacked.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return stacked

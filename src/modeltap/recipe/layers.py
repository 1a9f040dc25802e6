"""The layers that a `sequential` model is written with: their keys, their bounds, and how one is read and rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from modeltap.errors import InvalidRecipe, nearest
from modeltap.recipe.options import read_struct

Activation = Literal[
    "linear",
    "relu",
    "leaky_relu",
    "gelu",
    "elu",
    "selu",
    "tanh",
    "sigmoid",
    "softmax",
    "softplus",
    "swish",
    "silu",
]
"""swish and silu are two names of one function."""

Width = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Extent = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Pair = Extent | Annotated[tuple[Extent, ...], msgspec.Meta(min_length=2, max_length=2)]
"""Height and width; one number stands for both. Not tuple[Extent, Extent]: beside a bounded int in a union, msgspec 0.22
reads the bounds of a fixed tuple from foreign memory and crashes."""
Rate = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Padding = Literal["valid", "same"]


class LayerKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys that every layer has. `name` is what its weights are called; none is its kind and place."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")] | None = None


class Dense(LayerKeys, frozen=True):
    units: Width
    activation: Activation = "linear"
    bias: bool = True


class Conv2d(LayerKeys, frozen=True):
    filters: Width
    kernel: Pair
    stride: Pair = 1
    padding: Padding = "valid"
    activation: Activation = "linear"
    bias: bool = True


class Pool2d(LayerKeys, frozen=True):
    size: Pair = 2
    stride: Pair | None = None
    """None is the size: windows beside each other."""
    padding: Padding = "valid"


class Dropout(LayerKeys, frozen=True):
    rate: Rate


class BatchNorm(LayerKeys, frozen=True):
    """`momentum` is the share that a running average keeps at each step, as in Keras."""

    momentum: Rate = 0.9
    epsilon: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1e-3


class Recurrent(LayerKeys, frozen=True):
    units: Width
    return_sequences: bool = False
    bidirectional: bool = False


class Embedding(LayerKeys, frozen=True):
    dim: Width
    vocabulary: Width | None = None
    """None is what the data has."""


class ActivationLayer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name` is the function: the layer has no weights that would need a name."""

    name: Activation


class Reshape(LayerKeys, frozen=True):
    shape: tuple[Annotated[int, msgspec.Meta(ge=-1, le=100_000_000)], ...]
    """Of a sample; one extent may be -1."""


KEYS: dict[str, type[LayerKeys] | type[ActivationLayer]] = {
    "dense": Dense,
    "conv2d": Conv2d,
    "maxpool2d": Pool2d,
    "avgpool2d": Pool2d,
    "globalavgpool2d": LayerKeys,
    "flatten": LayerKeys,
    "dropout": Dropout,
    "batchnorm": BatchNorm,
    "lstm": Recurrent,
    "gru": Recurrent,
    "embedding": Embedding,
    "activation": ActivationLayer,
    "reshape": Reshape,
}


class Layer:
    """One layer of a model: its kind, and its keys with every default filled in."""

    __slots__ = ("keys", "kind")

    def __init__(self, kind: str, keys: LayerKeys | ActivationLayer) -> None:
        self.kind = kind
        self.keys = keys

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layer) and (self.kind, self.keys) == (other.kind, other.keys)

    def __hash__(self) -> int:
        return hash((self.kind, self.keys))

    def __repr__(self) -> str:
        return f"Layer({self.kind!r}, {self.keys!r})"

    @property
    def activation(self) -> str | None:
        """The function it ends in; None where it has none of its own."""
        keys = self.keys
        if isinstance(keys, ActivationLayer):
            return keys.name
        return keys.activation if isinstance(keys, Dense | Conv2d) else None


def read_layer(raw: Any) -> Layer:
    """The layer that `flatten` or `{dense: {units: 10}}` says. Raises ValueError, saying what is wrong with which key."""
    keys: Any
    if isinstance(raw, str):
        kind, keys = raw, {}
    elif isinstance(raw, Mapping) and len(raw) == 1:
        ((kind, keys),) = raw.items()
    else:
        raise ValueError(f"a layer is a name, or one name with its keys like dense: {{units: 10}}; given was {raw!r:.80}")
    if kind not in KEYS:
        raise ValueError(f"there is no layer '{kind}'{nearest(str(kind), KEYS)}")
    if kind == "activation" and isinstance(keys, str):
        keys = {"name": keys}
    try:
        return Layer(kind, read_struct({} if keys is None else keys, KEYS[kind], where=kind))
    except InvalidRecipe as problem:
        raise ValueError(problem.message) from None


def render_layer(layer: Layer) -> dict[str, Any]:
    """What `read_layer` makes the same layer from."""
    return {layer.kind: msgspec.to_builtins(layer.keys)}

"""Every architecture by name, with the options it has: the built-in ones, and those of installed packages.

A package adds one by an entry point in the group `modeltap.architectures`, called as the architecture is, that leads to an
`Architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

import msgspec

from modeltap.domain.architecture import Architecture, Options
from modeltap.errors import InvalidRecipe, nearest
from modeltap.recipe.auto_architecture import AUTO_ARCHITECTURE
from modeltap.recipe.language_architectures import LANGUAGE_ARCHITECTURES
from modeltap.recipe.layers import Layer, Pair, Rate, Width, read_layer, render_layer
from modeltap.recipe.options import read_struct
from modeltap.recipe.text_architectures import TEXT_ARCHITECTURES

GROUP = "modeltap.architectures"

Whole = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
NonNegative = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Hidden = Literal["relu", "leaky_relu", "gelu", "elu", "selu", "tanh", "sigmoid", "softplus", "swish", "silu"]


class LinearOptions(Options, frozen=True):
    """None: one weight a feature and class."""


class MlpOptions(Options, frozen=True):
    hidden: Annotated[tuple[Width, ...], msgspec.Meta(max_length=64)] = (128, 64)
    activation: Hidden = "relu"
    dropout: Rate = 0.1
    batch_norm: bool = False
    embedding_dim: Width | Literal["auto"] = "auto"
    """Of each category. auto: 1.6 times the number of categories to the power 0.56, at most 50."""


class CnnOptions(Options, frozen=True):
    filters: Annotated[tuple[Width, ...], msgspec.Meta(min_length=1, max_length=16)] = (32, 64)
    """Of each block: a convolution, then a 2x2 maximum where the picture is still large enough."""
    kernel: Pair = 3
    activation: Hidden = "relu"
    batch_norm: bool = False
    dense: Width | None = 128
    """Width of the layer before the last; None leaves it out."""
    dropout: Rate = 0.25


class BoostingOptions(Options, frozen=True):
    max_iter: Whole = 1000
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    max_leaf_nodes: Annotated[int, msgspec.Meta(ge=2, le=100_000)] | None = 31
    max_depth: Whole | None = None
    min_samples_leaf: Whole = 20
    l2_regularization: NonNegative = 0.0
    max_features: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """The share of the features that each split may choose from, drawn anew for it."""
    early_stopping_rounds: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 30
    """Iterations without a better validation loss before it stops; the best iteration is kept. 0 grows all of them."""


class SequentialOptions(Options, frozen=True):
    layers: Annotated[tuple[Layer, ...], msgspec.Meta(max_length=1000)] = ()
    layout: Literal["nhwc", "nchw"] = "nhwc"
    """Order of a picture's axes in the input, and in which `flatten` walks through them."""
    base: str | None = None
    """A version of layers, `name@version`, whose weights it begins with; without layers of its own it has those."""


BUILT_IN: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="linear",
            summary="one layer: linear or logistic regression",
            options=LinearOptions,
            build="modeltap.training.architectures.linear:build",
            defaults={"epochs": 200, "batch_size": 64, "optimizer": {"lr": 0.01}, "early_stopping": {"patience": 10}},
        ),
        Architecture(
            name="mlp",
            summary="fully connected layers, with an embedding for each category",
            options=MlpOptions,
            build="modeltap.training.architectures.mlp:build",
            categories="embedding",
            defaults={"epochs": 100, "batch_size": 64, "optimizer": {"lr": 0.002}, "early_stopping": {"patience": 10}},
        ),
        Architecture(
            name="cnn",
            summary="blocks of convolution and maximum, then fully connected layers",
            options=CnnOptions,
            build="modeltap.training.architectures.cnn:build",
            defaults={"epochs": 10, "schedule": {"name": "cosine"}},
        ),
        Architecture(
            name="gradient-boosting",
            summary="histogram gradient-boosted trees; missing values need no imputing",
            options=BoostingOptions,
            build="modeltap.training.boosting:fit_boosting",
            family="boosting",
            categories="ordinal",
        ),
        Architecture(
            name="sequential",
            summary="the layers that the recipe lists, as in Keras",
            options=SequentialOptions,
            build="modeltap.training.architectures.sequential:build",
        ),
        AUTO_ARCHITECTURE,
        *TEXT_ARCHITECTURES,
        *LANGUAGE_ARCHITECTURES,
    )
}


def architecture_names() -> list[str]:
    """All names, sorted."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def find_architecture(name: str) -> Architecture:
    """The architecture of that name. Raises InvalidRecipe naming the nearest one."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    added = {point.name: point for point in entry_points(group=GROUP)}
    if name not in added:
        raise InvalidRecipe(f"there is no architecture '{name}'{nearest(name, [*BUILT_IN, *added])}")
    try:
        architecture = added[name].load()
    except (ImportError, AttributeError) as problem:
        raise InvalidRecipe(f"the architecture '{name}' of an installed package cannot be loaded: {problem}") from problem
    if not isinstance(architecture, Architecture) or architecture.name != name:
        raise InvalidRecipe(f"the entry point '{name}' in {GROUP} is not a modeltap Architecture of that name")
    return architecture


def parse_options(architecture: Architecture, options: Mapping[str, Any]) -> Options:
    """The architecture's own keys as its type. Raises InvalidRecipe naming the key and the nearest known one."""
    read = read_struct(options, architecture.options, where="model", read_field=_read_field)
    if isinstance(read, SequentialOptions) and not read.layers and read.base is None:
        what = "the key 'layers' is missing; list them, or name a version with layers as base"
        raise InvalidRecipe(f"model: {what}", fields=[("model.layers", what)])
    return read


def render_options(options: Options) -> dict[str, Any]:
    """Plain values of every key, from which `parse_options` makes the same options."""
    rendered: dict[str, Any] = msgspec.to_builtins(options, enc_hook=_render_field)
    return rendered


def _read_field(kind: type, raw: Any) -> Any:
    if kind is Layer:
        return read_layer(raw)
    raise NotImplementedError(f"options cannot hold a {kind.__name__}")


def _render_field(value: Any) -> Any:
    if isinstance(value, Layer):
        return render_layer(value)
    raise NotImplementedError(f"options cannot hold a {type(value).__name__}")

"""An architecture and its options → a torch module; also again, from what a bundle holds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from modeltap.domain.architecture import Architecture, Options
from modeltap.domain.features import FeatureSpec
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import find_architecture, parse_options


def build_module(architecture: Architecture, options: Options, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """The module with start weights. Raises InvalidRecipe where options and data do not fit."""
    place, _, function = architecture.build.partition(":")
    try:
        builder = getattr(importlib.import_module(place), function)
    except (ImportError, AttributeError) as problem:
        raise InvalidRecipe(f"the architecture '{architecture.name}' cannot be loaded: {problem}") from problem
    module: nn.Module = builder(options, spec, num_outputs)
    return module


def build_again(described: Mapping[str, Any], weights: Mapping[str, Any]) -> nn.Module:
    """The trained module, in evaluation mode, from `Trained.architecture` and `Trained.weights`; it gives logits, or values
    that are still scaled by `target`."""
    architecture = find_architecture(described["architecture"])
    options = parse_options(architecture, described["options"])
    spec = msgspec.convert(described["features"], FeatureSpec)
    module = build_module(architecture, options, spec, described["num_outputs"])
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return module.eval()


def load_start(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Sets those of the module's weights that are given. Raises InvalidRecipe for one that the module has not, or otherwise."""
    own = module.state_dict()
    for name, array in weights.items():
        if name not in own or tuple(own[name].shape) != tuple(array.shape):
            raise InvalidRecipe(f"the network to begin with has other weights ('{name}', shape {list(array.shape)})")
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()}, strict=False)


def fitting_weights(
    recipe: Recipe, spec: FeatureSpec, num_outputs: int, weights: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Those of the weights that the recipe's network has by the same name and shape; and the names of its others."""
    architecture = find_architecture(recipe.model.architecture)
    module = build_module(architecture, parse_options(architecture, recipe.model.options), spec, num_outputs)
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    start = {name: weights[name] for name, shape in own.items() if name in weights and tuple(weights[name].shape) == shape}
    return start, [name for name in own if name not in start and not name.endswith("num_batches_tracked")]


def check_input_shape(declared: Sequence[int] | None, spec: FeatureSpec) -> None:
    """Raises InvalidRecipe if the recipe's `model.input.shape` is not what the data gives; a channel of 1 may be left out."""
    if declared is None:
        return
    there = spec.shape or (len(spec.cardinalities),)
    if _without_channel(declared) != _without_channel(there):
        raise InvalidRecipe(
            f"model.input.shape is {list(declared)}, and the data has {list(there)}; leave it out, or write {list(there)}",
            fields=[("model.input.shape", f"the data has {list(there)}")],
        )


def _without_channel(shape: Sequence[int]) -> tuple[int, ...]:
    """An image's shape without a channel of 1, wherever the layout has it."""
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        return tuple(shape[:2] if shape[2] == 1 else shape[1:])
    return tuple(shape)

"""The network that a language recipe trains: its own, or a base's with or without small matrices beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import find_architecture, parse_options
from modeltap.recipe.language_architectures import FullOptions, GptOptions
from modeltap.training.language.loop import Trainee, takes_bfloat16
from modeltap.training.language.network import build as build_own
from modeltap.training.language.pretrained import LARGEST_CONTEXT
from modeltap.training.language.pretrained import build as build_pretrained


class Built(NamedTuple):
    trainee: Trainee
    context: int
    """Tokens that a row to learn may have."""


def language_options(recipe: Recipe) -> GptOptions | FullOptions:
    options = parse_options(find_architecture(recipe.model.architecture), recipe.model.options)
    assert isinstance(options, GptOptions | FullOptions)
    return options


def build_trainee(recipe: Recipe, *, vocabulary: int, base: Mapping[str, Path], folder: Path, device: torch.device) -> Built:
    """With its start weights, to be put on the device. vocabulary: of a network of our own. base: files of the version that is
    trained on, to which `folder` is filled with links. Raises InvalidRecipe, InvalidData, MissingExtra."""
    options = language_options(recipe)
    network: nn.Module
    if isinstance(options, GptOptions):
        network = build_own(options, vocabulary)
        context, width = options.context, options.width
    else:
        network = build_pretrained(options, base, folder)
        config: Any = network.config
        context, width = _context(options, config), int(config.hidden_size)
    is_own = isinstance(options, GptOptions)
    autocast = takes_bfloat16(recipe.precision, device=device, width=width, is_own=is_own)
    return Built(Trainee(network, autocast=autocast), context)


def _context(options: FullOptions, config: Any) -> int:
    longest = int(getattr(config, "max_position_embeddings", LARGEST_CONTEXT))
    if options.context is not None and options.context > longest:
        raise InvalidRecipe(f"model.context is {options.context:,}; the base takes at most {longest:,}")
    return options.context or min(longest, LARGEST_CONTEXT)

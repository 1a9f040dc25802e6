"""What the parts of feature fitting share: the settings they read and the group of features they hand back."""

from __future__ import annotations

import msgspec

from modeltap.domain.recipe import Clean, Transforms


class FitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What fitting needs to know beside the data. `trees`: missing numbers stay missing and nothing is scaled."""

    transforms: Transforms
    clean: Clean
    trees: bool
    auto_categories: str
    tokens: bool = False
    """An INT64 array is token ids for an embedding, not numbers."""


class Group(msgspec.Struct, frozen=True):
    """One piece of the output: the name of its float32 (N, k) tensor, and the k names of its features."""

    tensor: str
    names: tuple[str, ...]
    codes: int = 0
    """Of a single feature that is a category's code: how many there are."""

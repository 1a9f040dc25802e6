"""What an architecture is to everything that does not train: a name, its options, and where its builder lives.

A user's own architecture is one `Architecture` under the entry point group `modeltap.architectures`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parent of an architecture's options: the keys that a recipe may hold beside `architecture`."""


@dataclass(frozen=True)
class Architecture:
    """`build` is "module:function", imported only in the process that trains.

    A network's function takes (options, FeatureSpec, num_outputs) and returns a torch module that maps float features
    (N, *shape), and codes (N, K) where the spec has some, to (N, num_outputs) logits or values. A booster is built in.
    """

    name: str
    summary: str
    options: type[Options]
    build: str
    tasks: tuple[str, ...] = ()
    """Empty is every task."""
    family: Literal["network", "boosting", "language", "search"] = "network"
    categories: Literal["one-hot", "embedding", "ordinal"] = "one-hot"
    """What `transforms.categories: auto` means for it."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Recipe keys (outside `model`) that it trains best with, under what the user wrote."""
    shares_batches: bool = True
    """Of a network or language model: several processes may each take a part of a batch. False where a row is compared with all
    others of its batch, and where gradients are so large beside the work that sending them costs more than is won."""

"""The entry of `residual-mlp`: its name, its keys, and where it is built. Imports no torch: servers read this too."""

from __future__ import annotations

from typing import Annotated

import msgspec

from modeltap.domain.architecture import Architecture, Options


class ResidualMlpOptions(Options, frozen=True):
    """`blocks` layers of `width`, each added to what went into it."""

    width: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 64
    blocks: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1


RESIDUAL_MLP = Architecture(
    name="residual-mlp",
    summary="fully connected layers with skip connections",
    options=ResidualMlpOptions,
    build="modeltap_example.network:build",
    defaults={"epochs": 100, "batch_size": 64, "early_stopping": {"patience": 10}},
)

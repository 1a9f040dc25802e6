"""A public name that routes to model versions."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One version behind a deployment and the share of requests it gets."""

    model: str
    version: int
    digest: str
    weight: float = 1.0


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller names. `previous` is where a roll-back leads."""

    name: str
    routes: tuple[Route, ...]
    previous: tuple[Route, ...] = ()
    is_default: bool = False
    created_at: datetime
    updated_at: datetime

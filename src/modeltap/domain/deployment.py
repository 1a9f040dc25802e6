"""A public name that routes to model versions, and how it is served."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from modeltap.domain.tenant import DEFAULT_TENANT, Limits
from modeltap.domain.usage import Price

MAX_REPLICAS = 64
MAX_DEADLINE_MS = 600_000
MAX_BATCH = 4096
ROWS_WITHIN_MS = 10_000
"""Where nobody said anything, for what is no text."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One version behind a deployment and the share of requests it gets."""

    model: str
    version: int
    digest: str
    weight: float = 1.0

    @property
    def model_id(self) -> str:
        return f"{self.model}@{self.version}"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment is served and charged; a new version of it keeps them."""

    price: Price = Price()
    is_public: bool = False
    """Answered without a key, as the anonymous key of its tenant."""
    public_limits: Limits = Limits()
    """Of all callers without a key together."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPLICAS)] = 1
    isolate: bool = False
    """Run in an engine process even where there is one replica; more than one always do."""
    deadline_ms: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEADLINE_MS)] | None = None
    """A request that could not be answered within it is refused at the door, and a text that is not whole by then is ended.
    None is 10 seconds for rows and tensors, and for texts, which take as long as they are, no end."""
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH)] = 64
    """Rows that are put together in one run."""

    @property
    def rows_within_ms(self) -> int:
        """The deadline of what is no text."""
        return self.deadline_ms or ROWS_WITHIN_MS


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller names. `previous` is where a roll-back leads."""

    name: str
    tenant: str = DEFAULT_TENANT
    routes: tuple[Route, ...]
    previous: tuple[Route, ...] = ()
    is_default: bool = False
    terms: Terms = Terms()
    created_at: datetime
    updated_at: datetime

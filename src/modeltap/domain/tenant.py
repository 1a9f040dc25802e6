"""Tenants own everything; keys prove who calls. Their limits, and what a key lets its holder do."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

Scope = Literal["predict", "explain", "train", "admin"]
SCOPES: tuple[Scope, ...] = ("predict", "explain", "train", "admin")
"""admin includes the others, within its own tenant; train includes predict and explain."""

DEFAULT_TENANT = "default"
ADMIN_KEY_ID = "admin"
"""The key in the home's `admin.key`: it may do everything, in every tenant, without limits."""
ANONYMOUS_KEY_ID = "anonymous"
"""Whoever calls without a key; only public deployments answer."""
ANONYMOUS_TENANT = "anonymous"
"""What calls without a key are metered under, each public deployment with limits of its own. No tenant may be called so."""

NANO = 1_000_000_000
"""Money is counted in whole billionths of the one currency, so that sums are exact."""

Count = Annotated[int, msgspec.Meta(ge=1)]
Money = Annotated[int, msgspec.Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be used; None is unlimited. A key's limits and its tenant's hold both."""

    rpm: Count | None = None
    """Requests in any 60 seconds."""
    upm: Count | None = None
    """Units (rows, tokens, …) in any 60 seconds."""
    concurrency: Count | None = None
    """Requests at a time."""
    budget_day_nano: Money | None = None
    """Cost in one day, UTC, in billionths of the currency."""
    budget_month_nano: Money | None = None
    """Cost in one calendar month, UTC."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    limits: Limits = Limits()
    created_at: datetime


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """One live secret of a key, as its keyed digest (hex). While a key is rotated it has two."""

    digest: str
    created_at: datetime
    expires_at: datetime | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What a presented key leads to, newest secret first. The text that a caller holds is `mt-<id>-<secret>`."""

    id: str
    tenant: str
    label: str = ""
    scopes: tuple[Scope, ...] = ("predict",)
    models: tuple[str, ...] | None = None
    """Deployments it may call; None is every one of its tenant."""
    limits: Limits = Limits()
    secrets: tuple[Secret, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, after the key was checked."""

    key: str
    tenant: str
    scopes: frozenset[Scope]
    models: frozenset[str] | None = None

    @property
    def is_root(self) -> bool:
        """Whether it is the home's own admin key, which stands above tenants."""
        return self.key == ADMIN_KEY_ID

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


def granted_scopes(scopes: tuple[Scope, ...]) -> frozenset[Scope]:
    """What these scopes allow in full: admin everything, train also predict and explain."""
    if "admin" in scopes:
        return frozenset(SCOPES)
    if "train" in scopes:
        return frozenset(("predict", "explain", "train"))
    return frozenset(scopes)


PUBLIC_SCOPES: frozenset[Scope] = frozenset(("predict", "explain"))
ROOT = Principal(key=ADMIN_KEY_ID, tenant=DEFAULT_TENANT, scopes=frozenset(SCOPES))
ANONYMOUS = Principal(key=ANONYMOUS_KEY_ID, tenant=ANONYMOUS_TENANT, scopes=PUBLIC_SCOPES)

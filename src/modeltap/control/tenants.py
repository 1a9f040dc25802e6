"""Tenants: created, limited, removed when they own nothing. Every change is served at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from modeltap.domain.tenant import Tenant
from modeltap.storage.tenants import TenantRepository


class Tenants:
    def __init__(self, tenants: TenantRepository, publish: Callable[[], None]) -> None:
        self._tenants = tenants
        self._publish = publish

    def create(self, name: str, limits: Mapping[str, Any] | None = None) -> Tenant:
        """`limits` are fields of Limits. Raises InvalidInput for the name or a limit, Conflict if it exists."""
        tenant = self._tenants.add(name, limits or {}, datetime.now(UTC))
        self._publish()
        return tenant

    def list(self) -> tuple[Tenant, ...]:
        """All, by name."""
        return self._tenants.list()

    def get(self, name: str) -> Tenant:
        """Raises NotFound."""
        return self._tenants.get(name)

    def set_limits(self, name: str, limits: Mapping[str, Any]) -> Tenant:
        """The tenant with these limits changed; None takes one away. Raises NotFound, InvalidInput."""
        tenant = self._tenants.set_limits(name, limits, datetime.now(UTC))
        self._publish()
        return tenant

    def remove(self, name: str) -> None:
        """Raises NotFound, and Conflict while it owns something, saying what."""
        self._tenants.remove(name)
        self._publish()

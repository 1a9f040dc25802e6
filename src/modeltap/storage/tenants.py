"""Tenants by name, with their limits; the one place that maps their rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, true, update

from modeltap.domain.changes import changed
from modeltap.domain.job import ENDED
from modeltap.domain.names import parse_name
from modeltap.domain.tenant import ANONYMOUS_TENANT, DEFAULT_TENANT, Limits, Tenant
from modeltap.errors import Conflict, InvalidInput, NotFound
from modeltap.storage.database import Database
from modeltap.storage.limit_history import record_limits
from modeltap.storage.tables import (
    dataset_versions,
    datasets,
    deployments,
    jobs,
    keys,
    model_versions,
    models,
    stored_files,
    tenants,
)


class TenantRepository:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, limits: Mapping[str, Any], now: datetime) -> Tenant:
        """The new tenant; `limits` are fields of Limits. Raises InvalidInput for the name or a limit, Conflict if it exists."""
        parse_name("tenant", name)
        if name == ANONYMOUS_TENANT:
            raise InvalidInput(
                f"the name '{name}' stands for callers without a key; choose another", fields=[("name", "taken")]
            )
        tenant = Tenant(name=name, limits=changed(Limits(), limits), created_at=now)
        with self._database.writing() as connection:
            if connection.scalar(select(tenants.c.name).where(tenants.c.name == name)) is not None:
                raise Conflict(f"the tenant '{name}' exists already; change its limits with: modeltap tenants update {name}")
            connection.execute(insert(tenants).values(**msgspec.structs.asdict(tenant)))
            record_limits(connection, name, "", tenant.limits, now)
        return tenant

    def get(self, name: str) -> Tenant:
        """Raises NotFound with the nearest name."""
        with self._database.reading() as connection:
            return _get(connection, name)

    def list(self) -> tuple[Tenant, ...]:
        """All, by name."""
        with self._database.reading() as connection:
            return tuple(read_tenants(connection).values())

    def set_limits(self, name: str, changes: Mapping[str, Any], now: datetime) -> Tenant:
        """The tenant with these limits changed and the others as they were. Raises NotFound, InvalidInput."""
        with self._database.writing() as connection:
            tenant = _get(connection, name, lock=True)
            limits = changed(tenant.limits, changes)
            connection.execute(update(tenants).where(tenants.c.name == name).values(limits=limits))
            record_limits(connection, name, "", limits, now)
        return msgspec.structs.replace(tenant, limits=limits)

    def remove(self, name: str) -> None:
        """Its jobs that have ended and its revoked keys go with it; what was used stays on record.

        Raises NotFound, and Conflict for the default tenant and for one that owns something, saying what.
        """
        if name == DEFAULT_TENANT:
            raise Conflict(f"the tenant '{name}' is always there; it cannot be removed")
        with self._database.writing() as connection:
            _get(connection, name, lock=True)
            owned = _owned(connection, name)
            if owned:
                raise Conflict(f"the tenant '{name}' owns {', '.join(owned)}; remove or revoke them first")
            for table in (keys, jobs, datasets, models):
                connection.execute(delete(table).where(table.c.tenant == name))
            connection.execute(delete(tenants).where(tenants.c.name == name))


def read_tenants(connection: Connection) -> dict[str, Tenant]:
    """All, by name."""
    return {row.name: _tenant(row) for row in connection.execute(select(tenants).order_by(tenants.c.name))}


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(name=row.name, limits=msgspec.convert(row.limits, Limits), created_at=row.created_at)


def _get(connection: Connection, name: str, *, lock: bool = False) -> Tenant:
    query = select(tenants).where(tenants.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound.named("tenant", name, connection.scalars(select(tenants.c.name)))
    return _tenant(row)


def _owned(connection: Connection, tenant: str) -> list[str]:
    """What would be lost or orphaned with the tenant: '2 model versions', '1 key'."""
    kinds = (
        (deployments, true(), "deployment", "deployments"),
        (model_versions, true(), "model version", "model versions"),
        (dataset_versions, true(), "dataset version", "dataset versions"),
        (stored_files, true(), "file", "files"),
        (jobs, jobs.c.state.not_in(ENDED), "job that has not ended", "jobs that have not ended"),
        (keys, keys.c.revoked_at.is_(None), "key that was not revoked", "keys that were not revoked"),
    )
    told = []
    for table, counts, one, many in kinds:
        number = connection.scalar(select(func.count()).select_from(table).where(table.c.tenant == tenant, counts)) or 0
        if number:
            told.append(f"{number} {one if number == 1 else many}")
    return told

"""Deployments and their routes; the one place that maps their rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, true, update

from modeltap.domain.changes import changed
from modeltap.domain.deployment import Deployment, Route, Terms
from modeltap.domain.names import parse_name
from modeltap.errors import Conflict, InvalidInput, NotFound
from modeltap.faults import crash_point
from modeltap.storage.database import Database
from modeltap.storage.tables import deployment_routes, deployments, model_versions

_MAX_ROUTES = 100


class DeploymentRepository:
    """The deployments of one tenant. Every method is one transaction."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    def put(
        self,
        name: str,
        routes: Sequence[Route],
        now: datetime,
        *,
        is_default: bool | None = None,
        terms: Mapping[str, Any] | None = None,
    ) -> Deployment:
        """The deployment with these routes; the ones it had become `previous`, unless they are the same.

        `is_default` True makes it the tenant's only default one, None leaves it as it is (a new one is not). `terms` are
        fields of Terms that change. Raises InvalidInput for the name, the weights or a term, NotFound for a version that is
        not there, Conflict for a public name that another tenant has.
        """
        parse_name("deployment", name)
        _check_weights(routes)
        with self._database.writing() as connection:
            _check_versions(connection, self._tenant, routes)
            old = _fetch(connection, self._tenant, name).get(name)
            new_terms = changed(Terms() if old is None else old.terms, terms or {})
            if new_terms.is_public:
                _check_public_name(connection, self._tenant, name)
            if old is None:
                row = {"is_default": bool(is_default), "terms": new_terms, "created_at": now, "updated_at": now}
                connection.execute(insert(deployments).values(tenant=self._tenant, name=name, **row))
                previous: tuple[Route, ...] = ()
            else:
                connection.execute(update(deployments).where(_is(self._tenant, name)).values(terms=new_terms))
                previous = old.previous if old.routes == tuple(routes) else old.routes
            if is_default:
                own = deployments.c.tenant == self._tenant
                connection.execute(update(deployments).where(own).values(is_default=deployments.c.name == name))
            elif is_default is not None:
                connection.execute(update(deployments).where(_is(self._tenant, name)).values(is_default=False))
            _write_routes(connection, self._tenant, name, tuple(routes), previous, now)
            deployment = _get(connection, self._tenant, name)
            crash_point("deployment.before_commit")
        crash_point("deployment.committed")
        return deployment

    def get(self, name: str) -> Deployment:
        """Raises NotFound with the nearest name."""
        with self._database.reading() as connection:
            return _get(connection, self._tenant, name)

    def list(self) -> tuple[Deployment, ...]:
        """All, by name."""
        with self._database.reading() as connection:
            return tuple(_fetch(connection, self._tenant).values())

    def remove(self, name: str) -> None:
        """Raises NotFound."""
        with self._database.writing() as connection:
            _get(connection, self._tenant, name)
            connection.execute(delete(deployment_routes).where(_is_routed(self._tenant, name)))
            connection.execute(delete(deployments).where(_is(self._tenant, name)))

    def rollback(self, name: str, now: datetime) -> Deployment:
        """The deployment with its previous routes; the ones it had become `previous`, so a second call undoes this one.

        Raises NotFound, and Conflict where nothing came before or a version of it was removed.
        """
        with self._database.writing() as connection:
            old = _get(connection, self._tenant, name)
            if not old.previous:
                raise Conflict(f"the deployment '{name}' has no previous routes to roll back to; deploy a version instead")
            try:
                _check_versions(connection, self._tenant, old.previous)
            except NotFound as gone:
                raise Conflict(f"the deployment '{name}' cannot roll back: {gone.message}") from gone
            _write_routes(connection, self._tenant, name, old.previous, old.routes, now)
            deployment = _get(connection, self._tenant, name)
            crash_point("deployment.before_commit")
        crash_point("deployment.committed")
        return deployment


def read_all_deployments(connection: Connection) -> dict[str, dict[str, Deployment]]:
    """Tenant → name → deployment, of all tenants, in two queries."""
    found: dict[str, dict[str, Deployment]] = {}
    for deployment in _read(connection, true(), true()):
        found.setdefault(deployment.tenant, {})[deployment.name] = deployment
    return found


def _fetch(connection: Connection, tenant: str, name: str | None = None) -> dict[str, Deployment]:
    """The tenant's one of that name, or all of the tenant, by name."""
    if name is not None:
        return {found.name: found for found in _read(connection, _is(tenant, name), _is_routed(tenant, name))}
    own = _read(connection, deployments.c.tenant == tenant, deployment_routes.c.tenant == tenant)
    return {found.name: found for found in own}


def _read(connection: Connection, chosen: ColumnElement[bool], routed: ColumnElement[bool]) -> Iterator[Deployment]:
    """By tenant and name; `routed` chooses the routes of what `chosen` chooses."""
    routes: dict[tuple[str, str, str], list[Route]] = {}
    for row in connection.execute(select(deployment_routes).where(routed).order_by(deployment_routes.c.position)):
        route = Route(model=row.model, version=row.version, digest=row.digest, weight=row.weight)
        routes.setdefault((row.tenant, row.deployment, row.slot), []).append(route)
    for row in connection.execute(select(deployments).where(chosen).order_by(deployments.c.tenant, deployments.c.name)):
        yield Deployment(
            name=row.name,
            tenant=row.tenant,
            routes=tuple(routes.get((row.tenant, row.name, "now"), ())),
            previous=tuple(routes.get((row.tenant, row.name, "previous"), ())),
            is_default=row.is_default,
            terms=msgspec.convert(row.terms, Terms),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _is(tenant: str, name: str) -> ColumnElement[bool]:
    return (deployments.c.tenant == tenant) & (deployments.c.name == name)


def _is_routed(tenant: str, name: str) -> ColumnElement[bool]:
    return (deployment_routes.c.tenant == tenant) & (deployment_routes.c.deployment == name)


def _get(connection: Connection, tenant: str, name: str) -> Deployment:
    found = _fetch(connection, tenant, name).get(name)
    if found is None:
        known = connection.scalars(select(deployments.c.name).where(deployments.c.tenant == tenant))
        raise NotFound.named("deployment", name, known)
    return found


def _write_routes(
    connection: Connection, tenant: str, name: str, routes: tuple[Route, ...], previous: tuple[Route, ...], now: datetime
) -> None:
    connection.execute(delete(deployment_routes).where(_is_routed(tenant, name)))
    rows: list[dict[str, Any]] = [
        {
            "tenant": tenant,
            "deployment": name,
            "slot": slot,
            "position": position,
            "model": route.model,
            "version": route.version,
            "digest": route.digest,
            "weight": route.weight,
        }
        for slot, of_slot in (("now", routes), ("previous", previous))
        for position, route in enumerate(of_slot)
    ]
    connection.execute(insert(deployment_routes), rows)
    connection.execute(update(deployments).where(_is(tenant, name)).values(updated_at=now))


def _check_weights(routes: Sequence[Route]) -> None:
    weights = [route.weight for route in routes]
    if not 1 <= len(weights) <= _MAX_ROUTES:
        raise InvalidInput(f"a deployment routes to 1 to {_MAX_ROUTES} versions, {len(weights)} were given")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) <= 0:
        raise InvalidInput(f"weights must be 0 or more and not all 0; given: {', '.join(f'{w:g}' for w in weights)}")


def _check_public_name(connection: Connection, tenant: str, name: str) -> None:
    """Raises Conflict if a deployment of another tenant is public under this name: callers without a key have no tenant."""
    others = select(deployments.c.terms).where(deployments.c.name == name, deployments.c.tenant != tenant)
    if any(terms.get("is_public") for terms in connection.scalars(others)):
        raise Conflict(f"the name '{name}' is taken among public deployments; deploy under another name")


def _check_versions(connection: Connection, tenant: str, routes: Sequence[Route]) -> None:
    """Raises NotFound for a route to a version that is not there, in the same transaction that writes the routes."""
    for route in routes:
        query = select(model_versions.c.digest).where(
            model_versions.c.tenant == tenant,
            model_versions.c.name == route.model,
            model_versions.c.version == route.version,
        )
        if connection.scalar(query) != route.digest:
            raise NotFound(f"there is no version {route.model}@{route.version}; it was removed, name another")

"""Deployments and their routes; the one place that maps their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.names import parse_name
from modeltap.errors import Conflict, InvalidInput, NotFound
from modeltap.faults import crash_point
from modeltap.storage.database import Database
from modeltap.storage.tables import deployment_routes, deployments, model_versions

_MAX_ROUTES = 100


class DeploymentRepository:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, routes: Sequence[Route], now: datetime, *, is_default: bool | None = None) -> Deployment:
        """The deployment with these routes; the ones it had become `previous`, unless they are the same.

        `is_default` True makes it the only default one, None leaves it as it is (a new one is not).
        Raises InvalidInput for the name or the weights, NotFound for a version that is not there.
        """
        parse_name("deployment", name)
        _check_weights(routes)
        with self._database.writing() as connection:
            _check_versions(connection, routes)
            old = _fetch(connection, name).get(name)
            if old is None:
                row = {"is_default": bool(is_default), "created_at": now, "updated_at": now}
                connection.execute(insert(deployments).values(name=name, **row))
                previous: tuple[Route, ...] = ()
            else:
                previous = old.previous if old.routes == tuple(routes) else old.routes
            if is_default:
                connection.execute(update(deployments).values(is_default=deployments.c.name == name))
            elif is_default is not None:
                connection.execute(update(deployments).where(deployments.c.name == name).values(is_default=False))
            _write_routes(connection, name, tuple(routes), previous, now)
            deployment = _fetch(connection, name)[name]
            crash_point("deployment.before_commit")
        crash_point("deployment.committed")
        return deployment

    def get(self, name: str) -> Deployment:
        """Raises NotFound with the nearest name."""
        with self._database.reading() as connection:
            return _get(connection, name)

    def list(self) -> tuple[Deployment, ...]:
        """All, by name."""
        with self._database.reading() as connection:
            return tuple(_fetch(connection).values())

    def remove(self, name: str) -> None:
        """Raises NotFound."""
        with self._database.writing() as connection:
            _get(connection, name)
            connection.execute(delete(deployment_routes).where(deployment_routes.c.deployment == name))
            connection.execute(delete(deployments).where(deployments.c.name == name))

    def rollback(self, name: str, now: datetime) -> Deployment:
        """The deployment with its previous routes; the ones it had become `previous`, so a second call undoes this one.

        Raises NotFound, and Conflict where nothing came before or a version of it was removed.
        """
        with self._database.writing() as connection:
            old = _get(connection, name)
            if not old.previous:
                raise Conflict(f"the deployment '{name}' has no previous routes to roll back to; deploy a version instead")
            try:
                _check_versions(connection, old.previous)
            except NotFound as gone:
                raise Conflict(f"the deployment '{name}' cannot roll back: {gone.message}") from gone
            _write_routes(connection, name, old.previous, old.routes, now)
            deployment = _get(connection, name)
            crash_point("deployment.before_commit")
        crash_point("deployment.committed")
        return deployment


def _fetch(connection: Connection, name: str | None = None) -> dict[str, Deployment]:
    """The one of that name, or all, by name."""
    chosen = select(deployments).order_by(deployments.c.name)
    routed = select(deployment_routes).order_by(deployment_routes.c.position)
    if name is not None:
        chosen = chosen.where(deployments.c.name == name)
        routed = routed.where(deployment_routes.c.deployment == name)
    routes: dict[tuple[str, str], list[Route]] = {}
    for row in connection.execute(routed):
        route = Route(model=row.model, version=row.version, digest=row.digest, weight=row.weight)
        routes.setdefault((row.deployment, row.slot), []).append(route)
    return {
        row.name: Deployment(
            name=row.name,
            routes=tuple(routes.get((row.name, "now"), ())),
            previous=tuple(routes.get((row.name, "previous"), ())),
            is_default=row.is_default,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in connection.execute(chosen)
    }


def _get(connection: Connection, name: str) -> Deployment:
    found = _fetch(connection, name).get(name)
    if found is None:
        raise NotFound.named("deployment", name, connection.scalars(select(deployments.c.name)))
    return found


def _write_routes(
    connection: Connection, name: str, routes: tuple[Route, ...], previous: tuple[Route, ...], now: datetime
) -> None:
    connection.execute(delete(deployment_routes).where(deployment_routes.c.deployment == name))
    rows: list[dict[str, Any]] = [
        {
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
    connection.execute(update(deployments).where(deployments.c.name == name).values(updated_at=now))


def _check_weights(routes: Sequence[Route]) -> None:
    weights = [route.weight for route in routes]
    if not 1 <= len(weights) <= _MAX_ROUTES:
        raise InvalidInput(f"a deployment routes to 1 to {_MAX_ROUTES} versions, {len(weights)} were given")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) <= 0:
        raise InvalidInput(f"weights must be 0 or more and not all 0; given: {', '.join(f'{w:g}' for w in weights)}")


def _check_versions(connection: Connection, routes: Sequence[Route]) -> None:
    """Raises NotFound for a route to a version that is not there, in the same transaction that writes the routes."""
    for route in routes:
        query = select(model_versions.c.digest).where(
            model_versions.c.name == route.model, model_versions.c.version == route.version
        )
        if connection.scalar(query) != route.digest:
            raise NotFound(f"there is no version {route.model}@{route.version}; it was removed, name another")

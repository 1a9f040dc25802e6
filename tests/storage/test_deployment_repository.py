"""Deployments: routes, the default one, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from modeltap.domain.deployment import Route
from modeltap.domain.model import Manifest
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.errors import Conflict, InvalidInput, NotFound
from modeltap.storage.database import Database
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.models import ModelRepository


@pytest.fixture
def deployments(database: Database) -> DeploymentRepository:
    return DeploymentRepository(database, DEFAULT_TENANT)


@pytest.fixture
def routes(database: Database, manifest: Manifest, make_digest: Callable[[int], str], now: datetime) -> list[Route]:
    models = ModelRepository(database, DEFAULT_TENANT)
    versions = [models.add("iris", make_digest(number), manifest, None, now) for number in range(3)]
    return [Route(model=v.name, version=v.version, digest=v.digest, weight=0.5) for v in versions]


def test_a_deployment_is_read_back_as_it_was_put(deployments: DeploymentRepository, routes: list[Route], now: datetime) -> None:
    put = deployments.put("flowers", routes[:2], now)
    assert put.routes == tuple(routes[:2]) and put.previous == () and not put.is_default
    assert deployments.get("flowers") == put
    assert deployments.list() == (put,)


def test_rolling_back_leads_to_the_routes_before_and_back_again(
    deployments: DeploymentRepository, routes: list[Route], now: datetime
) -> None:
    later = now + timedelta(hours=1)
    deployments.put("flowers", [routes[0]], now)
    with pytest.raises(Conflict, match="no previous"):
        deployments.rollback("flowers", now)
    deployments.put("flowers", [routes[1]], now)
    deployments.put("flowers", [routes[1]], now)  # the same again does not lose the way back
    back = deployments.rollback("flowers", later)
    assert back.routes == (routes[0],) and back.previous == (routes[1],)
    assert (back.created_at, back.updated_at) == (now, later)
    assert deployments.rollback("flowers", later).routes == (routes[1],)


def test_one_deployment_at_the_most_is_the_default(
    deployments: DeploymentRepository, routes: list[Route], now: datetime
) -> None:
    deployments.put("a", [routes[0]], now, is_default=True)
    deployments.put("b", [routes[0]], now, is_default=True)
    assert [d.name for d in deployments.list() if d.is_default] == ["b"]
    assert deployments.put("b", [routes[1]], now).is_default
    assert not deployments.put("b", [routes[1]], now, is_default=False).is_default


@pytest.mark.parametrize("weights", [[], [0.0], [-1.0, 2.0], [float("nan")], [float("inf")]])
def test_weights_that_route_nothing_are_refused(
    deployments: DeploymentRepository, routes: list[Route], now: datetime, weights: list[float]
) -> None:
    given = [Route(model="iris", version=1, digest=routes[0].digest, weight=weight) for weight in weights]
    with pytest.raises(InvalidInput):
        deployments.put("flowers", given, now)
    assert deployments.list() == ()


def test_what_is_not_there_is_named(deployments: DeploymentRepository, routes: list[Route], now: datetime) -> None:
    with pytest.raises(NotFound, match="iris@9"):
        deployments.put("flowers", [Route(model="iris", version=9, digest=routes[0].digest)], now)
    deployments.put("flowers", [routes[0]], now)
    with pytest.raises(NotFound, match="did you mean 'flowers'"):
        deployments.get("flower")
    deployments.remove("flowers")
    assert deployments.list() == ()
    with pytest.raises(NotFound):
        deployments.remove("flowers")
    with pytest.raises(InvalidInput):
        deployments.put("a/b", [routes[0]], now)

"""Which replica answers for a name: while it is loaded, when it is switched, when it fails, and when nobody needs it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.errors import Broken, GoldenMismatch, NotFound, Unavailable
from modeltap.serving.router import Router

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Opened:
    """Stands where a replica would; the router asks it for nothing else."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.in_flight = 0
        self.closed = False

    @contextmanager
    def used(self) -> Iterator[None]:
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def close(self) -> None:
        assert not self.in_flight
        self.closed = True


class Shelf:
    """Opens replicas, remembers them, and fails for the digests that it is told."""

    def __init__(self, **failures: Exception) -> None:
        self.failures = failures
        self.opened: list[Opened] = []
        self.gate: threading.Event | None = None

    def __call__(self, route: Route) -> Any:
        if self.gate is not None:
            self.gate.wait(10)
        if route.digest in self.failures:
            raise self.failures[route.digest]
        self.opened.append(Opened(route.digest))
        return self.opened[-1]


def deployment(name: str, digest: str, *, default: bool = False) -> Deployment:
    routes = (Route(model="m", version=1, digest=digest),)
    return Deployment(name=name, routes=routes, is_default=default, created_at=NOW, updated_at=NOW)


def snapshot(*deployments: Deployment) -> DeploymentSnapshot:
    return DeploymentSnapshot({one.name: one for one in deployments})


def run(flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(flow())


def digest_of(router: Router, name: str | None) -> str:
    found: Any = router.find(name)
    return str(found.digest)


def test_a_name_leads_to_its_version_and_no_name_to_the_only_or_default_one():
    async def flow() -> None:
        router = Router(Shelf())
        with pytest.raises(NotFound, match="nothing is deployed"):
            router.find(None)
        await router.publish(snapshot(deployment("a", "1")))
        assert digest_of(router, "a") == digest_of(router, None) == "1"
        await router.publish(snapshot(deployment("a", "1"), deployment("b", "2")))
        with pytest.raises(NotFound, match="several deployments and none is the default; name one: a, b"):
            router.find(None)
        await router.publish(snapshot(deployment("a", "1"), deployment("b", "2", default=True)))
        assert digest_of(router, None) == "2"
        with pytest.raises(NotFound, match="'aa'"):
            router.find("aa")

    run(flow)


def test_a_version_is_loaded_once_for_all_its_names_and_closed_when_the_last_is_gone():
    async def flow() -> None:
        shelf = Shelf()
        router = Router(shelf)
        await router.publish(snapshot(deployment("a", "1"), deployment("b", "1")))
        assert len(shelf.opened) == 1 and router.find("a") is router.find("b")
        await router.publish(snapshot(deployment("b", "1")))
        assert not shelf.opened[0].closed
        with pytest.raises(NotFound):
            router.find("a")
        await router.publish(snapshot())
        assert shelf.opened[0].closed

    run(flow)


def test_the_old_version_answers_until_the_new_one_is_warm():
    async def flow() -> None:
        shelf = Shelf()
        router = Router(shelf)
        await router.publish(snapshot(deployment("a", "1")))
        shelf.gate = threading.Event()
        switching = asyncio.create_task(router.publish(snapshot(deployment("a", "2"))))
        await asyncio.sleep(0.05)
        assert digest_of(router, "a") == "1" and router.status(deployment("a", "2")) == "loading"
        shelf.gate.set()
        await switching
        assert digest_of(router, "a") == "2" and router.status(deployment("a", "2")) == "ready"
        assert [one.closed for one in shelf.opened] == [True, False]

    run(flow)


def test_a_replica_that_answers_a_request_is_closed_after_it():
    async def flow() -> None:
        shelf = Shelf()
        router = Router(shelf)
        await router.publish(snapshot(deployment("a", "1")))
        busy = shelf.opened[0]
        with busy.used():
            switching = asyncio.create_task(router.publish(snapshot(deployment("a", "2"))))
            await asyncio.sleep(0.05)
            assert digest_of(router, "a") == "2" and not busy.closed
        await switching
        assert busy.closed

    run(flow)


def test_while_the_first_version_loads_a_caller_is_told_to_try_again():
    async def flow() -> None:
        shelf = Shelf()
        shelf.gate = threading.Event()
        router = Router(shelf)
        loading = asyncio.create_task(router.publish(snapshot(deployment("a", "1"))))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable, match="'a' is being loaded; try again"):
            router.find("a")
        shelf.gate.set()
        await loading
        assert digest_of(router, "a") == "1"

    run(flow)


def test_a_version_that_fails_leaves_the_old_one_and_all_others_serving():
    async def flow() -> None:
        shelf = Shelf(bad=GoldenMismatch("row 3 differs"), worse=Broken("cannot be read"))
        router = Router(shelf)
        await router.publish(snapshot(deployment("a", "1")))
        await router.publish(snapshot(deployment("a", "bad"), deployment("b", "worse"), deployment("c", "3")))
        assert digest_of(router, "a") == "1" and router.status(deployment("a", "bad")) == "failed"
        assert digest_of(router, "c") == "3"
        with pytest.raises(Unavailable, match="'b' could not be loaded: cannot be read"):
            router.find("b")
        shelf.failures.clear()
        await router.publish(snapshot(deployment("a", "bad"), deployment("b", "worse")))
        assert digest_of(router, "a") == "bad" and digest_of(router, "b") == "worse"
        assert router.status(deployment("a", "bad")) == "ready"

    run(flow)


def test_a_failure_that_nobody_named_does_not_keep_the_others_from_being_loaded():
    async def flow() -> None:
        router = Router(Shelf(odd=RuntimeError("/srv/secret/path")))
        await router.publish(snapshot(deployment("a", "odd"), deployment("b", "2")))
        assert digest_of(router, "b") == "2" and router.status(deployment("a", "odd")) == "failed"
        with pytest.raises(Unavailable, match="'a' could not be loaded") as problem:
            router.find("a")
        assert "secret" not in problem.value.message

    run(flow)


def test_closing_closes_everything():
    async def flow() -> None:
        shelf = Shelf()
        router = Router(shelf)
        await router.publish(snapshot(deployment("a", "1"), deployment("b", "2")))
        await router.close()
        assert all(one.closed for one in shelf.opened)
        with pytest.raises(NotFound, match="nothing is deployed"):
            router.find(None)

    run(flow)

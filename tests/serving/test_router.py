"""Which version answers for a name: while it is loaded, while it is switched, when it fails, and when nobody needs it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import numpy as np
import pytest
from asking import (
    CALLER,
    WAIT_S,
    Clock,
    Gate,
    Shelf,
    asked,
    deployment,
    factor,
    found,
    loaded,
    ones,
    run,
    settled,
    snapshot,
)
from small_bundles import spinning_bundle, times_bundle

from modeltap.bundle.files import GOLDEN
from modeltap.domain.tenant import ANONYMOUS, Principal, granted_scopes
from modeltap.errors import Broken, GoldenMismatch, NotFound, Unauthenticated, Unavailable


def test_a_name_leads_to_its_version_and_no_name_to_the_only_or_default_one(shelf: Shelf) -> None:
    async def flow() -> None:
        router = shelf.router()
        with pytest.raises(NotFound, match="nothing is deployed"):
            router.deployment(CALLER, None)
        await router.publish(snapshot(deployment("a", "v2")))
        assert await factor(router, "a") == await factor(router, None) == 2.0
        await router.publish(snapshot(deployment("a", "v2"), deployment("b", "v3")))
        with pytest.raises(NotFound, match="several deployments and none is the default; name one: a, b"):
            router.deployment(CALLER, None)
        await router.publish(snapshot(deployment("a", "v2"), deployment("b", "v3", is_default=True)))
        assert await factor(router, None) == 3.0
        with pytest.raises(NotFound, match="'aa'"):
            router.deployment(CALLER, "aa")

    run(flow)


def test_a_tenant_finds_its_own_and_who_has_no_key_what_is_public(shelf: Shelf) -> None:
    async def flow() -> None:
        router = shelf.router()
        other = Principal(key="o", tenant="other", scopes=granted_scopes(("predict",)))
        await router.publish(
            snapshot(
                deployment("a", "v2"),
                deployment("a", "v3", tenant="other"),
                deployment("open", "v4", tenant="other", is_public=True),
            )
        )
        assert router.deployment(CALLER, "a").routes[0].digest == "v2"
        assert router.deployment(other, "a").routes[0].digest == "v3"
        assert router.deployment(CALLER, None).name == "a"
        for name in ("open", "nothing"):
            with pytest.raises(NotFound, match=f"'{name}'"):
                router.deployment(CALLER, name)
        assert router.deployment(ANONYMOUS, "open").name == router.deployment(ANONYMOUS, None).name == "open"
        for name in ("a", "nothing"):
            with pytest.raises(Unauthenticated, match="no key was sent"):
                router.deployment(ANONYMOUS, name)
        assert set(router.deployments("other")) == {"a", "open"} and not router.deployments("nobody")

    run(flow)


def test_a_version_is_loaded_once_for_all_its_names_and_closed_when_the_last_is_gone(shelf: Shelf) -> None:
    async def flow() -> None:
        gate = Gate(shelf)
        router = gate.router()
        await router.publish(snapshot(deployment("a", "v2"), deployment("b", "v2"), deployment("c", "v2", isolate=True)))
        assert gate.loaded == ["v2", "v2"]
        version = found(router, "a")
        assert version is found(router, "b") is not found(router, "c")
        await router.publish(snapshot(deployment("b", "v2")))
        assert (await asked(version, ones())).tolist() == [[2.0] * 4]
        with pytest.raises(NotFound):
            found(router, "a")
        await router.publish(snapshot())
        async with asyncio.timeout(WAIT_S):
            while version.lane.replicas:
                await asyncio.sleep(0.005)
        with pytest.raises(Unavailable, match="is being unloaded"):
            await asked(version, ones())
        assert gate.loaded == ["v2", "v2"] and not router.loaded()

    run(flow)


def test_the_old_version_answers_until_the_new_one_is_warm(shelf: Shelf) -> None:
    async def flow() -> None:
        gate = Gate(shelf, "v3")
        router = gate.router()
        await router.publish(snapshot(deployment("a", "v2")))
        old, new = found(router, "a"), deployment("a", "v3", updated=1)
        switching = asyncio.create_task(router.publish(snapshot(new)))
        ensured = asyncio.create_task(router.ensure(new))
        await asyncio.sleep(0)
        assert await factor(router, "a") == 2.0 and router.status(new) == "loading"
        gate.opens.set()
        with old.held():
            await switching
            await ensured
            assert await factor(router, "a") == 3.0 and router.status(new) == "ready"
            assert (await asked(old, ones())).tolist() == [[2.0] * 4]
        await router.close()
        assert not old.lane.replicas

    run(flow)


def test_a_key_that_is_revoked_meanwhile_does_not_wait_for_a_version_that_is_loaded(shelf: Shelf) -> None:
    async def flow() -> None:
        gate = Gate(shelf, "v3")
        router = gate.router()
        await router.publish(snapshot(deployment("a", "v2")))
        switching = asyncio.create_task(router.publish(snapshot(deployment("a", "v3"))))
        await asyncio.sleep(0)
        await router.publish(snapshot(deployment("a", "v3"), deployment("b", "v2")))
        assert await factor(router, "b") == 2.0 and not switching.done()
        gate.opens.set()
        await switching
        assert await factor(router, "a") == 3.0

    run(flow)


def test_a_name_that_changed_again_while_its_version_was_loaded_leads_to_the_last(shelf: Shelf) -> None:
    async def flow() -> None:
        gate = Gate(shelf, "v3")
        router = gate.router()
        await router.publish(snapshot(deployment("a", "v2")))
        middle = deployment("a", "v3")
        first = asyncio.create_task(router.publish(snapshot(middle)))
        waiting = asyncio.create_task(router.ensure(middle))
        await asyncio.sleep(0)
        await router.publish(snapshot(deployment("a", "v4")))
        assert await factor(router, "a") == 4.0
        gate.opens.set()
        await first
        assert await factor(router, "a") == 4.0 and len(router.loaded()) == 1
        with pytest.raises(Unavailable, match="changed or removed meanwhile"):
            await waiting

    run(flow)


def test_the_version_that_is_asked_for_must_be_one_that_the_name_leads_to(shelf: Shelf) -> None:
    async def flow() -> None:
        router = shelf.router()
        await router.publish(snapshot(deployment("a", "v2@7", "v3@8")))
        assert await factor(router, "a") == await factor(router, "a", "7") == 2.0
        assert await loaded(router, "a", "8") == 3.0 and await factor(router, "a") == 2.0
        for wanted in ("9", "", "07", "x" * 5000):
            with pytest.raises(NotFound, match="it leads to 7, 8") as problem:
                found(router, "a", wanted)
            assert len(problem.value.message) < 400

    run(flow)


def test_a_version_that_fails_leaves_the_old_one_and_all_others_serving(shelf: Shelf) -> None:
    async def flow() -> None:
        clock = Clock()
        router = shelf.router(clock=clock)
        shelf.bundles["worse"] = {name: path for name, path in shelf.bundles["v2"].items() if name != GOLDEN}
        await router.publish(snapshot(deployment("a", "v2")))
        bad, worse = deployment("a", "bad", updated=1), deployment("b", "worse")
        await router.publish(snapshot(bad, worse, deployment("c", "v3")))
        assert await factor(router, "a") == 2.0 and router.status(bad) == "failed"
        assert "golden row 1" in (router.failure(bad) or "")
        assert await factor(router, "c") == 3.0
        with pytest.raises(Unavailable, match=r"'b' could not be loaded: the bundle has no 'golden\.json'"):
            found(router, "b")
        with pytest.raises(GoldenMismatch, match="golden row 1"):
            await router.ensure(bad)
        with pytest.raises(Broken, match=r"golden\.json"):
            await router.ensure(worse)
        shelf.bundles["bad"] = shelf.bundles["worse"] = shelf.bundles["v4"]
        with pytest.raises(Unavailable, match="'b' could not be loaded"):
            found(router, "b")
        clock.now_s += 1.0
        router.sweep()
        assert await settled(router, bad) == "ready" and await factor(router, "a") == 4.0
        assert await loaded(router, "b") == 4.0

    run(flow)


def test_a_deployment_that_changed_is_tried_again_at_once(shelf: Shelf) -> None:
    async def flow() -> None:
        router = shelf.router()
        await router.publish(snapshot(deployment("a", "bad")))
        assert router.status(deployment("a", "bad")) == "failed"
        shelf.bundles["bad"] = shelf.bundles["v2"]
        again = deployment("a", "bad", updated=1)
        await router.publish(snapshot(again))
        assert router.status(again) == "ready" and await factor(router, "a") == 2.0

    run(flow)


def test_a_failure_that_nobody_named_does_not_keep_the_others_from_being_loaded(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    async def flow() -> None:
        router = shelf.router()
        await router.publish(snapshot(deployment("a", "no such digest"), deployment("b", "v2")))
        assert await factor(router, "b") == 2.0
        with pytest.raises(Unavailable, match="'a' could not be loaded: the server's log has the reason"):
            found(router, "a")

    with caplog.at_level(logging.ERROR):
        run(flow)
    assert "KeyError" in caplog.text


def test_a_version_with_other_terms_is_loaded_beside_the_old_one_and_replaces_it(shelf: Shelf) -> None:
    async def flow() -> None:
        router = shelf.router()
        await router.publish(snapshot(deployment("a", "v2")))
        assert found(router, "a").lane.queue.max_batch_rows == 64
        await router.publish(snapshot(deployment("a", "v2", max_batch=8, replicas=2)))
        version = found(router, "a")
        assert version.lane.queue.max_batch_rows == 8 and len(version.lane.replicas) == 2
        assert await factor(router, "a") == 2.0 and len(router.loaded()) == 1

    run(flow)


def test_closing_answers_what_was_asked_and_refuses_what_comes(tmp_path: Path) -> None:
    async def flow() -> None:
        shelf = Shelf(spin=spinning_bundle(tmp_path / "spin"), other=times_bundle(tmp_path / "other"))
        router = shelf.router()
        one = deployment("a", "spin", replicas=2)
        await router.publish(snapshot(one, deployment("b", "other")))
        version = found(router, "a")
        asking = [asyncio.create_task(asked(version, np.array([[200_000 + number]]))) for number in range(6)]
        await asyncio.sleep(0)
        await router.close()
        assert [int((await each)[0, 0]) for each in asking] == [200_000 + number for number in range(6)]
        assert not router.loaded() and not version.lane.replicas
        with pytest.raises(NotFound, match="nothing is deployed"):
            router.deployment(CALLER, None)
        with pytest.raises(Unavailable, match="about to end"):
            router.version(one, None)
        await router.publish(snapshot(one))
        assert not router.loaded()

    run(flow)


def test_closing_while_versions_are_loaded_leaves_nothing(shelf: Shelf) -> None:
    async def flow() -> None:
        gate = Gate(shelf, "v3")
        router = gate.router()
        loading = asyncio.create_task(router.publish(snapshot(deployment("a", "v2"), deployment("b", "v3"))))
        await asyncio.sleep(0)
        await router.close()
        await loading
        assert not router.loaded() and gate.loaded in ([], ["v2"])

    run(flow)

"""What the router keeps in memory: the last changed at the start, the others when they are called, and no more than fits."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from asking import Clock, Gate, Shelf, deployment, factor, found, loaded, run, settled, snapshot
from small_bundles import times_bundle

from modeltap.domain.tenant import ANONYMOUS
from modeltap.errors import Loading, Unavailable
from modeltap.serving.router import EAGER


def test_of_many_the_last_changed_are_loaded_at_the_start_and_the_others_when_they_are_called(
    shelf: Shelf, tmp_path: Path
) -> None:
    async def flow() -> None:
        for number in range(EAGER + 3):
            shelf.bundles[f"m{number}"] = times_bundle(tmp_path / f"m{number}", number)
        gate = Gate(shelf)
        router = gate.router()
        deployed = [deployment(f"d{number}", f"m{number}", updated=number) for number in range(EAGER + 3)]
        await router.publish(snapshot(*deployed))
        assert sorted(gate.loaded) == sorted(f"m{number}" for number in range(3, EAGER + 3))
        assert [router.status(one) for one in deployed] == ["unloaded"] * 3 + ["ready"] * EAGER
        with pytest.raises(Loading, match="'d1' is being loaded; try again in a second") as problem:
            found(router, "d1")
        assert problem.value.retry_after_s == 1.0 and router.status(deployed[1]) == "loading"
        assert await loaded(router, "d1") == 1.0
        assert [router.status(one) for one in deployed[:3]] == ["unloaded", "ready", "unloaded"]

    run(flow)


def test_all_who_call_while_it_is_loaded_cause_one_load(shelf: Shelf) -> None:
    async def flow() -> None:
        gate = Gate(shelf)
        router = gate.router(unload_after_s=10.0, clock=Clock())
        await router.publish(snapshot(deployment("a", "v2")))
        assert await asyncio.gather(*(loaded(router, "a") for _ in range(20))) == [2.0] * 20
        assert gate.loaded == ["v2"]

    run(flow)


def test_what_nobody_calls_is_unloaded_and_loaded_again_at_the_next_call(shelf: Shelf) -> None:
    async def flow() -> None:
        clock = Clock()
        router = shelf.router(unload_after_s=60.0, clock=clock)
        one, other = deployment("a", "v2"), deployment("b", "v3", isolate=True)
        await router.publish(snapshot(one, other))
        a, b = found(router, "a"), found(router, "b")
        a.last_used_s, b.last_used_s = (start_s := clock.now_s + 100.0), start_s + 30.0
        clock.now_s = start_s + 59.0
        router.sweep()
        assert (router.status(one), router.status(other)) == ("ready", "ready")
        clock.now_s = start_s + 91.0
        with b.held():
            router.sweep()
            assert (router.status(one), router.status(other)) == ("unloaded", "ready")
        router.sweep()
        assert router.status(other) == "unloaded"
        assert await loaded(router, "a") == 2.0 and await loaded(router, "b") == 3.0

    run(flow)


def test_over_the_limit_of_memory_the_one_that_was_not_called_for_longest_makes_room(shelf: Shelf) -> None:
    async def flow() -> None:
        router = shelf.router(model_memory_bytes=160 << 20)  # two engine processes fit, three do not
        all_three = [deployment(f"d{factor}", f"v{factor}", isolate=True) for factor in (2, 3, 4)]
        await router.publish(snapshot(*all_three[:2]))
        for name in ("d3", "d2"):
            found(router, name).last_used_s = time.monotonic()
        await router.publish(snapshot(*all_three))
        assert [router.status(one) for one in all_three] == ["ready", "unloaded", "ready"]
        assert await loaded(router, "d4") == 4.0
        with found(router, "d2").held(), found(router, "d4").held():
            with pytest.raises(Loading):
                found(router, "d3")
            assert await settled(router, all_three[1]) == "failed"
            with pytest.raises(Unavailable, match=r"'d3' could not be loaded: it takes .* MODELTAP_MODEL_MEMORY_BYTES"):
                found(router, "d3")
            await router.ensure(all_three[1])
            assert await factor(router, "d3") == 3.0

    run(flow)


def test_one_version_that_is_larger_than_the_limit_is_served_all_the_same(shelf: Shelf) -> None:
    async def flow() -> None:
        router = shelf.router(model_memory_bytes=1)
        await router.publish(snapshot(deployment("a", "v2")))
        router.sweep()
        assert await factor(router, "a") == 2.0

    run(flow)


def test_a_thousand_deployments_are_found_without_looking_at_the_others(shelf: Shelf) -> None:
    async def flow() -> None:
        router = shelf.router()
        many = [deployment(f"d{number}", "v2") for number in range(1000)]
        await router.publish(snapshot(*many, deployment("last", "v3", is_default=True, is_public=True)))
        assert await factor(router, "d999") == 2.0 and await factor(router, None) == 3.0
        assert router.deployment(ANONYMOUS, None).name == "last"
        assert len(router.loaded()) == 2

    run(flow)

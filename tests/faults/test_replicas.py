"""Engines that are killed, hang or are replaced under load: every request is answered or told, none waits for ever."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from asking import WAIT_S, Shelf, asked, deployment, found, ones, run, snapshot
from fault_server import is_running
from small_bundles import ENDLESS, spinning_bundle, times_bundle

from modeltap.errors import Loading, ModeltapError, Overloaded, ReplicaLost, Unavailable
from modeltap.serving.router import Router

CLIENTS = 16


def pids(router: Router) -> tuple[int, ...]:
    return tuple(pid for loaded in router.loaded() for pid in loaded.fleet.pids)


async def until_ready(router: Router, num_replicas: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(pids(router)) < num_replicas:
            await asyncio.sleep(0.005)


async def until_busy(router: Router) -> None:
    async with asyncio.timeout(WAIT_S):
        while not any(loaded.version.lane.queue.running for loaded in router.loaded()):
            await asyncio.sleep(0)


def test_kill_9_in_the_middle_of_batches_loses_no_request(tmp_path: Path) -> None:
    """Two replicas; one after the other dies. A request meets one death at the most, so all of them are answered."""

    async def flow() -> None:
        router = Shelf(spin=spinning_bundle(tmp_path)).router()
        await router.publish(snapshot(deployment("a", "spin", replicas=2, max_batch=4, deadline_ms=600_000)))
        told: Counter[str] = Counter()
        killed: set[int] = set()
        going = True

        async def client(number: int) -> None:
            chance = random.Random(number)
            while going:
                rounds = 20_000 + chance.randrange(1000)
                try:
                    y = await asked(found(router, "a"), np.array([[rounds], [number]]))
                except ReplicaLost:
                    told["lost"] += 1
                else:
                    assert y.tolist() == [[rounds], [number]]
                    told["answered"] += 1

        clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
        for _ in range(4):
            await until_ready(router, 2)
            answered = told["answered"]
            async with asyncio.timeout(WAIT_S):
                while told["answered"] < answered + 2 * CLIENTS:
                    await asyncio.sleep(0.001)
            await until_busy(router)
            killed.add(victim := pids(router)[0])
            os.kill(victim, signal.SIGKILL)
        await until_ready(router, 2)
        going = False
        await asyncio.gather(*clients)
        assert len(killed) == 4 and not killed & set(pids(router))
        assert told["answered"] >= 8 * CLIENTS and not told["lost"]
        await router.close()
        assert not any(map(is_running, killed))

    run(flow)


def test_where_all_replicas_die_at_once_again_and_again_requests_are_told(tmp_path: Path) -> None:
    async def flow() -> None:
        router = Shelf(spin=spinning_bundle(tmp_path)).router()
        await router.publish(snapshot(deployment("a", "spin", replicas=2)))
        asking = [asyncio.create_task(asked(found(router, "a"), np.array([[ENDLESS]]))) for _ in range(6)]
        async with asyncio.timeout(WAIT_S):
            while not all(task.done() for task in asking):
                for pid in pids(router):
                    os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.01)
        for task in asking:
            with pytest.raises(ReplicaLost, match="try again"):
                await task
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    assert (await asked(found(router, "a"), np.array([[3]]))).tolist() == [[3]]
                    break
                except Unavailable:
                    await asyncio.sleep(0.01)

    run(flow)


def test_a_hung_engine_is_ended_and_its_requests_run_on_the_next_one(tmp_path: Path) -> None:
    async def flow() -> None:
        router = Shelf(spin=spinning_bundle(tmp_path)).router()
        await router.publish(snapshot(deployment("a", "spin", isolate=True)))
        fleet = router.loaded()[0].fleet
        (hung,) = fleet.pids
        for replica in fleet.lane.replicas:
            replica.run_timeout_s = 0.3  # type: ignore[attr-defined]
        os.kill(hung, signal.SIGSTOP)
        assert (await asked(found(router, "a"), np.array([[5], [6]]))).tolist() == [[5], [6]]
        assert not is_running(hung) and hung not in fleet.pids

    run(flow)


def test_replacing_a_version_under_load_loses_nothing(tmp_path: Path) -> None:
    async def flow() -> None:
        bundles = {f"v{factor}": times_bundle(tmp_path / str(factor), factor) for factor in range(1, 7)}
        router = Shelf(**bundles).router()
        await router.publish(snapshot(deployment("a", "v1")))
        seen: set[int] = set()
        refused: list[ModeltapError] = []
        going = True

        async def client() -> None:
            while going:
                try:
                    seen.add(int((await asked(found(router, "a"), ones()))[0, 0]))
                except ModeltapError as problem:
                    refused.append(problem)
                await asyncio.sleep(0)

        clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
        for factor in range(2, 7):
            new = deployment("a", f"v{factor}", updated=factor, isolate=factor % 2 == 0, replicas=1 + factor % 3)
            await router.publish(snapshot(new))
            await router.ensure(new)
            before = set(seen)
            assert int((await asked(found(router, "a"), ones()))[0, 0]) == factor
            async with asyncio.timeout(WAIT_S):
                while factor not in seen:
                    await asyncio.sleep(0)
            assert before <= seen
        going = False
        await asyncio.gather(*clients)
        assert not refused and seen == set(range(1, 7))
        assert len(router.loaded()) == 1

    run(flow)


def test_versions_that_push_each_other_out_of_memory_serve_all_who_come_back(tmp_path: Path) -> None:
    """Room for two of five engine processes: whoever is told to come back is served in the end."""

    async def flow() -> None:
        bundles = {f"v{factor}": times_bundle(tmp_path / str(factor), factor) for factor in range(1, 6)}
        router = Shelf(**bundles).router(model_memory_bytes=160 << 20)
        await router.publish(snapshot(*(deployment(f"d{factor}", f"v{factor}", isolate=True) for factor in range(1, 6))))

        async def client(factor: int) -> None:
            left = 2
            async with asyncio.timeout(WAIT_S):
                while left:
                    try:
                        assert int((await asked(found(router, f"d{factor}"), ones()))[0, 0]) == factor
                        router.loaded()
                        found(router, f"d{factor}").last_used_s += 1e-3
                        left -= 1
                    except Unavailable as problem:
                        assert (
                            isinstance(problem, Loading | Overloaded)
                            or "MODELTAP_MODEL_MEMORY" in problem.message
                            or ("is being unloaded" in problem.message)
                        )
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(client(factor) for factor in range(1, 6)))
        assert len(router.loaded()) <= 3

    run(flow)

"""The replicas of one version: all warm or none, and a dead one comes back without anybody asking."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from asking import WAIT_S, new_queue, ones, queued
from fault_server import is_running
from small_bundles import Files, times_bundle, with_wrong_answer

from modeltap.bundle.files import GOLDEN, GRAPH
from modeltap.errors import Broken, GoldenMismatch, ReplicaLost, Unavailable
from modeltap.serving.fleet import Fleet
from modeltap.serving.lane import Lane


async def started(files: Files, *, replicas: int = 1, isolate: bool = False) -> Fleet:
    fleet = Fleet("small@1", files, Lane(new_queue()), replicas=replicas, isolate=isolate)
    await fleet.start()
    return fleet


async def turns(look: Callable[[], bool]) -> None:
    """Comes back when `look` says yes."""
    async with asyncio.timeout(WAIT_S):
        while not look():
            await asyncio.sleep(0.005)


async def answer(fleet: Fleet) -> list[list[float]]:
    outputs = await asyncio.wait_for(queued(fleet.lane, ones())[1], WAIT_S)
    return outputs["y"].tolist()


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


def test_one_replica_runs_here_and_several_or_an_isolated_one_in_processes(tmp_path: Path) -> None:
    async def flow() -> None:
        files, before = times_bundle(tmp_path), children()
        for replicas, isolate, num_processes in ((1, False, 0), (1, True, 1), (3, False, 3)):
            fleet = await started(files, replicas=replicas, isolate=isolate)
            assert len(children() - before) == len(fleet.pids) == num_processes
            assert fleet.states() == {f"small@1#{number}": "ready" for number in range(1, replicas + 1)}
            assert len(fleet.lane.replicas) == replicas and await answer(fleet) == [[2.0] * 4]
            assert (fleet.memory_bytes > 0) == (num_processes > 0)
            await fleet.close()
            assert children() == before and not fleet.lane.replicas
            with pytest.raises(Unavailable, match="is being unloaded"):
                queued(fleet.lane, ones())

    asyncio.run(flow())


def test_what_does_not_repeat_its_answers_leaves_no_process(tmp_path: Path) -> None:
    async def flow() -> None:
        before = children()
        wrong = with_wrong_answer(times_bundle(tmp_path), tmp_path / "wrong")
        for replicas in (1, 3):
            with pytest.raises(GoldenMismatch, match="golden row 1"):
                await started(wrong, replicas=replicas)
            assert children() == before

    asyncio.run(flow())


def test_a_killed_replica_comes_back_and_the_other_answers_meanwhile(tmp_path: Path) -> None:
    async def flow() -> None:
        fleet = await started(times_bundle(tmp_path), replicas=2)
        killed, other = fleet.pids
        os.kill(killed, signal.SIGKILL)
        await turns(lambda: len(fleet.lane.replicas) == 1)
        assert await answer(fleet) == [[2.0] * 4]
        await turns(lambda: len(fleet.lane.replicas) == 2)
        assert killed not in fleet.pids and other in fleet.pids
        assert set(fleet.states().values()) == {"ready"}
        await fleet.close()
        assert not any(map(is_running, (killed, other, *fleet.pids)))

    asyncio.run(flow())


def test_requests_wait_for_the_only_replica_to_come_back(tmp_path: Path) -> None:
    async def flow() -> None:
        fleet = await started(times_bundle(tmp_path), isolate=True)
        for _ in range(2):
            os.kill(fleet.pids[0], signal.SIGKILL)
            await turns(lambda: not fleet.lane.replicas)
            assert await answer(fleet) == [[2.0] * 4]
        await fleet.close()

    asyncio.run(flow())


def test_where_none_can_be_started_again_all_who_wait_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> None:
        files = times_bundle(tmp_path)
        golden = files[GOLDEN].read_bytes()
        fleet = await started(files, isolate=True)
        files[GOLDEN].unlink()
        os.kill(fleet.pids[0], signal.SIGKILL)
        await turns(lambda: not fleet.lane.replicas)
        with pytest.raises(ReplicaLost, match="could not be started again") as problem:
            await asyncio.wait_for(queued(fleet.lane, ones())[1], WAIT_S)
        assert str(tmp_path) not in problem.value.message
        with pytest.raises(ReplicaLost, match="could not be started again"):
            queued(fleet.lane, ones())
        files[GOLDEN].write_bytes(golden)
        await turns(lambda: bool(fleet.lane.replicas))
        assert await answer(fleet) == [[2.0] * 4]
        await fleet.close()

    asyncio.run(flow())
    assert "could not be started again" in caplog.text


def test_closing_while_one_is_started_again_leaves_none(tmp_path: Path) -> None:
    async def flow() -> None:
        before = children()
        fleet = await started(times_bundle(tmp_path), replicas=2)
        for pid in fleet.pids:
            os.kill(pid, signal.SIGKILL)
        await turns(lambda: not fleet.lane.replicas)
        waiting = queued(fleet.lane, ones())[1]
        await fleet.close()
        with pytest.raises(Unavailable, match="is being unloaded"):
            await waiting
        assert children() == before

    asyncio.run(flow())


def test_a_start_that_is_cancelled_leaves_none(tmp_path: Path) -> None:
    async def flow() -> None:
        before = children()
        starting = asyncio.create_task(started(times_bundle(tmp_path), replicas=3))
        await turns(lambda: children() != before)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert children() == before

    asyncio.run(flow())


def test_a_graph_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    async def flow() -> None:
        files = times_bundle(tmp_path)
        files[GRAPH].write_bytes(b"not a graph" * 9)
        for isolate in (False, True):
            with pytest.raises(Broken, match="cannot load the graph"):
                await started(files, isolate=isolate)

    asyncio.run(flow())

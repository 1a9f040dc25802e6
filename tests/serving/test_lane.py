"""What a lane promises each request: its own answer or a named failure, whatever its neighbours and the engines do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from asking import WAIT_S, new_queue, ones, queued, run
from small_bundles import Files, lookup_bundle, times_bundle, total_bundle

from modeltap.bundle.files import open_bundle
from modeltap.domain.engine import Engine
from modeltap.domain.replica import ReplicaState
from modeltap.domain.signature import Batch, Signature
from modeltap.engines.select import open_warm_engine
from modeltap.errors import Broken, Overloaded, ReplicaLost, Unavailable
from modeltap.serving.backend import Done
from modeltap.serving.lane import Lane
from modeltap.serving.replica import INLINE_S, LocalReplica


class Watched:
    """An engine that remembers how many rows it was given at a time."""

    def __init__(self, engine: Engine) -> None:
        self.signature: Signature = engine.signature
        self.runs: list[int] = []
        self._engine = engine

    def run(self, batch: Batch) -> Batch:
        self.runs.append(len(next(iter(batch.values()))))
        return self._engine.run(batch)

    def close(self) -> None:
        self._engine.close()


class Doomed:
    """A replica that dies under each of its batches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: ReplicaState = "ready"

    def run(self, inputs: Batch, done: Done, *, expected_s: float) -> None:
        asyncio.get_running_loop().call_soon(done, ReplicaLost(f"{self.name} died; try again"), 0.0)

    async def close(self) -> None:
        self.state = "stopped"


def opened(files: Files) -> Watched:
    return Watched(open_warm_engine(open_bundle(files)))


def test_requests_that_arrive_together_run_together_and_get_their_own_rows(tmp_path: Path) -> None:
    async def flow() -> None:
        engine = opened(times_bundle(tmp_path))
        lane = Lane(new_queue())
        lane.add(LocalReplica("x@1#1", engine))
        outcomes = [queued(lane, ones(number % 3 + 1, number))[1] for number in range(20)]
        for number, outcome in enumerate(outcomes):
            y = (await outcome)["y"]
            assert y.shape == (number % 3 + 1, 4) and (y == 2 * number).all()
        assert engine.runs == [sum(number % 3 + 1 for number in range(20))]

    run(flow)


def test_a_batch_that_fails_fails_only_for_the_request_at_fault(tmp_path: Path) -> None:
    async def flow() -> None:
        lane = Lane(new_queue())
        lane.add(LocalReplica("x@1#1", opened(lookup_bundle(tmp_path))))
        good = [queued(lane, np.array([[number]]))[1] for number in range(3)]
        bad = queued(lane, np.array([[99]]))[1]
        good += [queued(lane, np.array([[number], [0]]))[1] for number in range(3, 5)]
        assert [(await outcome)["y"].tolist() for outcome in good] == [[[0]], [[10]], [[20]], [[30], [0]], [[40], [0]]]
        with pytest.raises(Broken, match="the graph failed"):
            await bad
        assert (await queued(lane, np.array([[4]]))[1])["y"].tolist() == [[40]]

    run(flow)


def test_many_of_one_batch_that_failed_are_answered_without_end_of_the_stack(tmp_path: Path) -> None:
    async def flow() -> None:
        lane = Lane(new_queue(max_batch=4096))
        lane.add(LocalReplica("x@1#1", opened(lookup_bundle(tmp_path))))
        outcomes = [queued(lane, np.array([[99 if number == 7 else 1]]))[1] for number in range(3000)]
        ended = await asyncio.gather(*outcomes, return_exceptions=True)
        assert [number for number, one in enumerate(ended) if isinstance(one, Broken)] == [7]

    run(flow)


def test_outputs_that_have_no_axis_of_rows_belong_to_one_request(tmp_path: Path) -> None:
    async def flow() -> None:
        engine = opened(total_bundle(tmp_path))
        lane = Lane(new_queue(max_batch=1), is_batched=False)
        lane.add(LocalReplica("x@1#1", engine))
        outcomes = [queued(lane, ones(rows))[1] for rows in (1, 2, 5)]
        assert [float((await outcome)["y"]) for outcome in outcomes] == [4.0, 8.0, 20.0]
        assert engine.runs == [1, 2, 5]

    run(flow)


def test_outputs_that_cannot_be_given_to_their_requests_are_a_named_failure(tmp_path: Path) -> None:
    async def flow() -> None:
        lane = Lane(new_queue())
        lane.add(LocalReplica("x@1#1", opened(total_bundle(tmp_path))))
        for outcome in [queued(lane, ones(2))[1] for _ in range(3)]:
            with pytest.raises(Broken, match="'y' has a single value for 2 rows"):
                await outcome

    run(flow)


def test_a_request_of_another_type_does_not_spoil_its_neighbours(tmp_path: Path) -> None:
    async def flow() -> None:
        lane = Lane(new_queue())
        lane.add(LocalReplica("x@1#1", opened(times_bundle(tmp_path))))
        good, bad = queued(lane, ones())[1], queued(lane, ones().astype(np.float64))[1]
        assert (await good)["y"].tolist() == [[2.0] * 4]
        with pytest.raises(Broken, match="the graph failed"):
            await bad

    run(flow)


def test_who_left_hears_nothing_and_the_others_are_answered(tmp_path: Path) -> None:
    async def flow() -> None:
        engine = opened(times_bundle(tmp_path))
        lane = Lane(new_queue())
        lane.add(LocalReplica("x@1#1", engine))
        (stays, answer), (leaves, never) = queued(lane, ones()), queued(lane, ones())
        assert lane.cancel(leaves) and not lane.cancel(leaves)
        assert (await answer)["y"].tolist() == [[2.0] * 4]
        assert not never.done() and not lane.cancel(stays)
        assert engine.runs == [1]

    run(flow)


def test_long_runs_leave_the_event_loop_free(tmp_path: Path) -> None:
    async def flow() -> None:
        queue = new_queue()
        queue.cost.fixed_s = INLINE_S * 2
        lane = Lane(queue)
        lane.add(LocalReplica("x@1#1", opened(times_bundle(tmp_path))))
        outcome = queued(lane, ones())[1]
        await asyncio.sleep(0)
        assert not outcome.done()
        assert (await asyncio.wait_for(outcome, WAIT_S))["y"].tolist() == [[2.0] * 4]

    run(flow)


def test_a_batch_whose_engine_died_runs_once_more_on_another(tmp_path: Path) -> None:
    async def flow() -> None:
        lane = Lane(new_queue())
        lane.add(Doomed("first"))
        outcomes = [queued(lane, ones(value=number))[1] for number in range(3)]
        while lane.replicas:
            await asyncio.sleep(0)
        assert not any(outcome.done() for outcome in outcomes)
        lane.add(LocalReplica("x@1#2", opened(times_bundle(tmp_path))))
        assert [float((await outcome)["y"][0, 0]) for outcome in outcomes] == [0.0, 2.0, 4.0]

    run(flow)


def test_a_batch_under_which_two_engines_died_is_lost_by_name() -> None:
    async def flow() -> None:
        lane = Lane(new_queue())
        lane.add(Doomed("first"))
        lane.add(Doomed("second"))
        outcome = queued(lane, ones())[1]
        with pytest.raises(ReplicaLost, match="died; try again"):
            await asyncio.wait_for(outcome, WAIT_S)
        assert not lane.replicas

    run(flow)


def test_an_abandoned_lane_refuses_until_an_engine_comes(tmp_path: Path) -> None:
    async def flow() -> None:
        lane = Lane(new_queue())
        waiting = [queued(lane, ones(number + 1))[1] for number in range(100)]
        left = queued(lane, ones())
        lane.cancel(left[0])
        lane.abandon(Unavailable("the engine does not come; try again", retry_after_s=3.0))
        for outcome in waiting:
            with pytest.raises(Unavailable, match="the engine does not come") as problem:
                await outcome
            assert problem.value.retry_after_s == 3.0
        assert not left[1].done() and lane.queue.waiting_entries == lane.queue.waiting_rows == 0
        with pytest.raises(Unavailable, match="the engine does not come"):
            queued(lane, ones())
        lane.add(LocalReplica("x@1#1", opened(times_bundle(tmp_path))))
        assert (await queued(lane, ones())[1])["y"].tolist() == [[2.0] * 4]

    run(flow)


def test_what_cannot_be_answered_in_time_is_refused_at_the_door() -> None:
    async def flow() -> None:
        lane = Lane(new_queue())
        lane.add(Doomed("x"))
        with pytest.raises(Overloaded, match="send the request again"):
            queued(lane, ones(64), deadline_s=0.0)

    run(flow)


def test_draining_ends_with_the_last_request(tmp_path: Path) -> None:
    async def flow() -> None:
        lane = Lane(new_queue())
        assert await lane.drain(WAIT_S)
        first, second = queued(lane, ones()), queued(lane, ones())
        assert not await lane.drain(0.01)
        draining = asyncio.create_task(lane.drain(WAIT_S))
        await asyncio.sleep(0)
        lane.add(LocalReplica("x@1#1", opened(times_bundle(tmp_path))))
        assert await draining and first[1].done() and second[1].done()

    run(flow)

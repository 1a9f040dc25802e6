"""What every engine does, wherever it runs: on the event loop, on a thread, in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import uvloop
from small_bundles import Files, identity_bundle, times_bundle, with_wrong_answer, words_bundle

from modeltap.bundle.files import GRAPH, open_bundle
from modeltap.domain.signature import NUMPY_DTYPE, Batch, Datatype
from modeltap.engines.process import ProcessReplica
from modeltap.engines.select import open_warm_engine
from modeltap.errors import Broken, GoldenMismatch, InvalidValue, ReplicaLost
from modeltap.serving.backend import ReplicaBackend
from modeltap.serving.replica import LocalReplica

SHORT_S, LONG_S = 0.0, 1.0


class Engine:
    """One engine of the kind under test, asked as a lane asks it."""

    def __init__(self, replica: ReplicaBackend, expected_s: float) -> None:
        self.replica = replica
        self.expected_s = expected_s

    async def run(self, **inputs: Any) -> Batch:
        answered: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()

        def done(outcome: Batch | BaseException, run_s: float) -> None:
            assert run_s >= 0.0
            if isinstance(outcome, BaseException):
                answered.set_exception(outcome)
            else:
                answered.set_result(outcome)

        self.replica.run(inputs, done, expected_s=self.expected_s)
        return await asyncio.wait_for(answered, 60)


async def open_here(files: Files, expected_s: float) -> Engine:
    return Engine(LocalReplica("small@1#1", open_warm_engine(open_bundle(files))), expected_s)


async def open_process(files: Files) -> Engine:
    return Engine(await ProcessReplica.start("small@1#1", files), 0.0)


class Opened(NamedTuple):
    """How the engine under test is opened, and the event loop that it is asked on."""

    open: Callable[[Files], Coroutine[Any, Any, Engine]]
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop

    def run(self, flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            runner.run(flow())


KINDS = {
    "on the loop": Opened(lambda files: open_here(files, SHORT_S)),
    "on a thread": Opened(lambda files: open_here(files, LONG_S)),
    "in a process": Opened(open_process),
    "in a process, asked by a server": Opened(open_process, uvloop.new_event_loop),
}


@pytest.fixture(params=list(KINDS))
def opened(request: pytest.FixtureRequest) -> Opened:
    return KINDS[request.param]


def test_answers_are_those_of_the_graph(opened: Opened, tmp_path: Path) -> None:
    async def flow() -> None:
        engine = await opened.open(times_bundle(tmp_path, 3.0))
        for num_rows in (1, 2, 64, 1000):
            x = np.random.default_rng(num_rows).normal(size=(num_rows, 4)).astype(np.float32)
            outputs = await engine.run(x=x)
            assert list(outputs) == ["y"]
            np.testing.assert_array_equal(outputs["y"], x * np.float32(3))
        await engine.replica.close()

    opened.run(flow)


def test_tensors_of_many_megabytes_arrive_whole(opened: Opened, tmp_path: Path) -> None:
    async def flow() -> None:
        engine = await opened.open(times_bundle(tmp_path))
        x = np.arange(4 * 700_001, dtype=np.float32).reshape(-1, 4)
        for _ in range(2):
            np.testing.assert_array_equal((await engine.run(x=x))["y"], x * 2)
        np.testing.assert_array_equal((await engine.run(x=x[:1]))["y"], x[:1] * 2)
        np.testing.assert_array_equal((await engine.run(x=x[::7]))["y"], x[::7] * 2)  # not one piece of memory
        await engine.replica.close()

    opened.run(flow)


def test_no_rows_get_no_answers(opened: Opened, tmp_path: Path) -> None:
    async def flow() -> None:
        engine = await opened.open(times_bundle(tmp_path))
        assert (await engine.run(x=np.empty((0, 4), dtype=np.float32)))["y"].shape == (0, 4)
        await engine.replica.close()

    opened.run(flow)


def test_strings_of_any_length_and_script(opened: Opened, tmp_path: Path) -> None:
    async def flow() -> None:
        engine = await opened.open(words_bundle(tmp_path))
        words = ["", "a", "Köln", "日本語 🙂", "x" * 200_000, "zero\0inside", "\n"]
        outputs = await engine.run(word=np.array(words, dtype=object), size=np.arange(7.0))
        assert outputs["word_out"].dtype == object
        assert outputs["word_out"].tolist() == words
        assert outputs["size_out"].tolist() == list(range(7))
        await engine.replica.close()

    opened.run(flow)


@pytest.mark.parametrize("datatype", [name for name in get_args(Datatype) if name != "BYTES"])
def test_every_type_and_shape_passes_as_it_is(opened: Opened, tmp_path: Path, datatype: Datatype) -> None:
    async def flow() -> None:
        engine = await opened.open(identity_bundle(tmp_path, datatype))
        for shape in ((), (3,), (2, 0, 3), (2, 1, 3, 1)):
            x = np.random.default_rng(1).integers(0, 2, size=shape).astype(NUMPY_DTYPE[datatype])
            y = (await engine.run(x=x))["y"]
            assert (y.dtype, y.shape) == (x.dtype, x.shape)
            np.testing.assert_array_equal(y, x)
        await engine.replica.close()

    opened.run(flow)


def test_a_batch_that_fails_is_named_and_the_next_one_runs(opened: Opened, tmp_path: Path) -> None:
    async def flow() -> None:
        engine = await opened.open(times_bundle(tmp_path))
        with pytest.raises(Broken, match="the graph failed") as problem:
            await engine.run(x=np.zeros((2, 3), dtype=np.float64))
        assert "Mul" not in problem.value.message
        with pytest.raises(InvalidValue, match="'x' is missing"):
            await engine.run(z=np.zeros((2, 4), dtype=np.float32))
        assert (await engine.run(x=np.ones((1, 4), dtype=np.float32)))["y"].tolist() == [[2.0] * 4]
        await engine.replica.close()

    opened.run(flow)


def test_one_batch_after_the_other_gets_its_own_answers(opened: Opened, tmp_path: Path) -> None:
    async def flow() -> None:
        engine = await opened.open(times_bundle(tmp_path))
        kept = [(await engine.run(x=np.full((number + 1, 4), number, dtype=np.float32)))["y"] for number in range(50)]
        for number, y in enumerate(kept):
            assert y.shape == (number + 1, 4) and (y == 2 * number).all()
        await engine.replica.close()

    opened.run(flow)


def test_closing_waits_for_the_batch_that_runs_and_may_be_done_twice(opened: Opened, tmp_path: Path) -> None:
    async def flow() -> None:
        engine = await opened.open(times_bundle(tmp_path))
        assert engine.replica.state == "ready"
        running = asyncio.ensure_future(engine.run(x=np.ones((200_000, 4), dtype=np.float32)))
        await asyncio.sleep(0)
        await engine.replica.close()
        assert (await running)["y"].shape == (200_000, 4)
        assert engine.replica.state == "stopped"
        await engine.replica.close()
        with pytest.raises(ReplicaLost, match="try again"):
            await engine.run(x=np.ones((1, 4), dtype=np.float32))

    opened.run(flow)


def test_a_bundle_that_cannot_be_trusted_is_no_engine(opened: Opened, tmp_path: Path) -> None:
    async def flow() -> None:
        files = times_bundle(tmp_path)
        with pytest.raises(GoldenMismatch, match="golden row 1"):
            await opened.open(with_wrong_answer(files, tmp_path / "wrong"))
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(files[GRAPH].read_bytes()[:-20])
        with pytest.raises(Broken, match="cannot load the graph") as problem:
            await opened.open({**files, GRAPH: broken})
        assert str(tmp_path) not in problem.value.message

    opened.run(flow)

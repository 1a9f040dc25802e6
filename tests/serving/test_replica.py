"""A replica in this process, and the version over it: what fails is named and told without the server's own names."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from asking import Shelf, deployment, found, ones, run, snapshot
from small_bundles import times_bundle

from modeltap.domain.signature import Batch, Signature
from modeltap.errors import Broken, InvalidValue
from modeltap.serving.replica import INLINE_S, LocalReplica


class Odd:
    """An engine that says where it runs, or fails as no engine should."""

    signature = Signature((), ())

    def __init__(self) -> None:
        self.closed_on: str | None = None

    def run(self, batch: Batch) -> Batch:
        if "bad" in batch:
            raise RuntimeError("/srv/secret/path")
        return {"thread": np.array([threading.current_thread().name], dtype=object)}

    def close(self) -> None:
        self.closed_on = threading.current_thread().name


async def outcome(replica: LocalReplica, inputs: Batch, expected_s: float) -> Batch | BaseException:
    given: asyncio.Future[Batch | BaseException] = asyncio.get_running_loop().create_future()
    replica.run(inputs, lambda told, _: given.set_result(told), expected_s=expected_s)
    return await given


def test_a_short_run_is_done_on_the_event_loop_and_a_long_one_on_its_own_thread() -> None:
    async def flow() -> None:
        engine = Odd()
        replica = LocalReplica("odd@1#1", engine)
        here = threading.current_thread().name
        for expected_s, where in ((INLINE_S / 2, here), (INLINE_S * 2, "engine-odd@1#1"), (INLINE_S / 2, here)):
            told = await outcome(replica, {}, expected_s)
            assert isinstance(told, dict) and told["thread"].tolist() == [where]
        await replica.close()
        assert engine.closed_on is not None
        assert "engine-odd@1#1" not in [thread.name for thread in threading.enumerate()]

    asyncio.run(flow())


@pytest.mark.parametrize("expected_s", [0.0, 1.0])
def test_a_failure_that_nobody_named_is_in_the_log_alone(expected_s: float, caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> None:
        replica = LocalReplica("odd@1#1", Odd())
        told = await outcome(replica, {"bad": np.zeros(1)}, expected_s)
        assert isinstance(told, Broken) and "secret" not in told.message
        assert isinstance(await outcome(replica, {}, expected_s), dict)
        await replica.close()

    asyncio.run(flow())
    assert "/srv/secret/path" in caplog.text


def test_an_answer_that_is_no_number_is_refused_and_its_row_named(tmp_path: Path) -> None:
    async def flow() -> None:
        router = Shelf(v=times_bundle(tmp_path, 2.0)).router()
        await router.publish(snapshot(deployment("a", "v")))
        version = found(router, "a")
        version.check({"y": ones(3)})
        wrong = ones(3)
        wrong[1, 2] = np.inf
        with pytest.raises(InvalidValue, match="row 2 has no finite answer"):
            version.check({"y": wrong})

    run(flow)

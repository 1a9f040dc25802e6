"""An engine process: what it starts with, how it ends, and what its caller hears of that."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from fault_server import WAIT_S, is_running, until
from small_bundles import ENDLESS, spinning_bundle, times_bundle

from modeltap.bundle.files import GOLDEN
from modeltap.domain.signature import Batch
from modeltap.engines.process import ProcessReplica
from modeltap.errors import Broken, ReplicaLost


def asked(replica: ProcessReplica, **inputs: np.ndarray) -> asyncio.Future[Batch | BaseException]:
    """Starts a run; its outcome, whatever that is."""
    outcome: asyncio.Future[Batch | BaseException] = asyncio.get_running_loop().create_future()
    replica.run(dict(inputs), lambda given, _: outcome.set_result(given))
    return outcome


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


async def lost(outcome: asyncio.Future[Batch | BaseException], told: str) -> None:
    problem = await asyncio.wait_for(outcome, WAIT_S)
    assert isinstance(problem, ReplicaLost) and told in problem.message, problem


def test_the_process_knows_no_secret_and_writes_no_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELTAP_KEY", "mt-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")

    async def flow() -> None:
        replica = await ProcessReplica.start("x@1#1", times_bundle(tmp_path))
        process = psutil.Process(replica.pid)
        known = process.environ()
        assert not [name for name, value in known.items() if name.startswith("MODELTAP") or "secret" in value or "AWS" in name]
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert replica.memory_bytes > 10 << 20
        await replica.close()
        assert not is_running(replica.pid) and replica.memory_bytes == 0

    asyncio.run(flow())


def test_signals_that_are_meant_for_the_server_do_not_end_it(tmp_path: Path) -> None:
    async def flow() -> None:
        replica = await ProcessReplica.start("x@1#1", times_bundle(tmp_path))
        os.kill(replica.pid, signal.SIGINT)
        os.kill(replica.pid, signal.SIGTERM)
        outputs = await asked(replica, x=np.ones((1, 4), dtype=np.float32))
        assert isinstance(outputs, dict) and outputs["y"].tolist() == [[2.0] * 4]
        await replica.close()

    asyncio.run(flow())


def test_killed_in_the_middle_of_a_batch_its_caller_is_told(tmp_path: Path) -> None:
    async def flow() -> None:
        ended: list[ProcessReplica] = []
        replica = await ProcessReplica.start("x@1#1", spinning_bundle(tmp_path), on_end=ended.append)
        outcome = asked(replica, x=np.array([[ENDLESS]]))
        os.kill(replica.pid, signal.SIGKILL)
        await lost(outcome, "x@1#1 ended; try again")
        assert ended == [replica] and replica.state == "failed"
        await lost(asked(replica, x=np.array([[1]])), "has ended; try again")
        await replica.close()
        assert not is_running(replica.pid)

    asyncio.run(flow())


def test_killed_while_nobody_asks_it_is_noticed_at_once(tmp_path: Path) -> None:
    async def flow() -> None:
        ended: asyncio.Future[ProcessReplica] = asyncio.get_running_loop().create_future()
        replica = await ProcessReplica.start("x@1#1", times_bundle(tmp_path), on_end=ended.set_result)
        os.kill(replica.pid, signal.SIGKILL)
        assert await asyncio.wait_for(ended, WAIT_S) is replica
        await replica.close()

    asyncio.run(flow())


@pytest.mark.parametrize("how", ["in its graph", "stopped"])
def test_one_that_hangs_is_ended(tmp_path: Path, how: str) -> None:
    async def flow() -> None:
        replica = await ProcessReplica.start("x@1#1", spinning_bundle(tmp_path), run_timeout_s=0.2)
        if how == "stopped":
            os.kill(replica.pid, signal.SIGSTOP)
        await lost(asked(replica, x=np.array([[ENDLESS]])), "did not answer a batch within 0.2 s")
        await replica.close()
        assert not is_running(replica.pid)

    asyncio.run(flow())


def test_a_run_in_time_does_not_count_towards_the_next_one(tmp_path: Path) -> None:
    async def flow() -> None:
        replica = await ProcessReplica.start("x@1#1", spinning_bundle(tmp_path), run_timeout_s=2.0)
        for _ in range(4):
            assert isinstance(await asked(replica, x=np.array([[1]])), dict)
        await replica.close()

    asyncio.run(flow())


def test_one_that_is_not_ready_in_time_is_given_up(tmp_path: Path) -> None:
    async def flow() -> None:
        files, before = spinning_bundle(tmp_path), children()
        with pytest.raises(Broken, match=r"of x@1#1 was not ready within 0\.01 s"):
            await ProcessReplica.start("x@1#1", files, start_timeout_s=0.01)
        assert children() == before

    asyncio.run(flow())


def test_one_whose_start_is_cancelled_is_given_up(tmp_path: Path) -> None:
    async def flow() -> None:
        before = children()
        starting = asyncio.create_task(ProcessReplica.start("x@1#1", times_bundle(tmp_path)))
        while children() == before:
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert children() == before

    asyncio.run(flow())


def test_one_that_dies_while_it_starts_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "nowhere")
    with pytest.raises(Broken, match=r"ended while it was started \(exit status 1\); the server's log has the reason"):
        asyncio.run(ProcessReplica.start("x@1#1", times_bundle(tmp_path)))


def test_a_bundle_without_its_files_is_said(tmp_path: Path) -> None:
    files = times_bundle(tmp_path)
    with pytest.raises(Broken, match=r"golden\.json"):
        asyncio.run(ProcessReplica.start("x@1#1", {name: path for name, path in files.items() if name != GOLDEN}))


def test_one_that_speaks_nonsense_is_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> None:
        for nonsense in (b"\xff" * 64, b"\x01" + b"\0" * 7 + b"\x08" + b"\0" * 7 + b"\xc1" + b"\0" * 23):
            replica = await ProcessReplica.start("x@1#1", times_bundle(tmp_path))
            outcome = asked(replica, x=np.ones((1, 4), dtype=np.float32))
            replica.get_buffer(-1)[: len(nonsense)] = nonsense
            replica.buffer_updated(len(nonsense))
            await lost(outcome, "said what cannot be")
            await replica.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(flow())
    assert "said what cannot be" in caplog.text


PARENT = """
import asyncio, sys
from pathlib import Path
import numpy as np
from modeltap.engines.process import ProcessReplica

async def main():
    files = {path.name: path for path in Path(sys.argv[1]).iterdir()}
    idle, busy = [await ProcessReplica.start(f"x@1#{n}", files) for n in (1, 2)]
    busy.run({"x": np.array([[1 << 50]])}, print)
    print(idle.pid, busy.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_no_process_lives_on_without_its_server(tmp_path: Path) -> None:
    spinning_bundle(tmp_path)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(map(is_running, pids))
    parent.kill()
    parent.communicate()
    until("both are gone", lambda: not any(map(is_running, pids)))

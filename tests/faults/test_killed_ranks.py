"""A training by two processes, of which some are killed, then their runner alone: none is left behind, and the model is, bit
for bit, that of a training that nothing disturbed.

MODELTAP_TEST_RANK_MOMENTS=12 disturbs twelve times, also by a pause; without it twice, which takes some seconds.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest
from fault_server import FaultServer, is_running, until
from flows_under_fault import LONG_MLP, UsedHomes, check_clean, start_training

NUM_MOMENTS = int(os.environ.get("MODELTAP_TEST_RANK_MOMENTS", "2"))
SHARED_MLP: dict[str, Any] = {**LONG_MLP, "epochs": 30 * NUM_MOMENTS, "distributed": {"processes": 2}}
WAIT_S = 240.0
"""Of a whole training on a busy machine, its processes' start included."""
RANK = "modeltap.training.rank"
GOES_ON = "goes on in epoch"


@pytest.mark.timeout(300 + 60 * NUM_MOMENTS)
def test_processes_and_runners_that_are_killed_leave_nothing_behind_and_end_with_the_same_digest(
    serve: Callable[..., FaultServer], used_homes: UsedHomes
) -> None:
    draw = random.Random(22)
    moments = ["rank", "runner", *(draw.choice(("rank", "rank", "runner", "pause")) for _ in range(NUM_MOMENTS - 2))]
    server = serve(used_homes.with_data)
    undisturbed = server.wait_job(start_training(server, SHARED_MLP), wait_s=WAIT_S)
    job_id = start_training(server, SHARED_MLP)
    runner, ranks = None, []
    for place, moment in enumerate(moments):
        runner, ranks = wait_ranks(server, job_id, not_these=ranks)
        stamp = server.checkpoint_stamp(job_id)
        until("they got further", lambda stamp=stamp: server.checkpoint_stamp(job_id) != stamp, pause_s=0.005)
        until("the runner says that they went on", lambda place=place: server.job_log(job_id).count(GOES_ON) == place)
        time.sleep(draw.uniform(0, 0.1))
        disturb(server, job_id, moment, runner, draw.choice(ranks))
        until("the processes end", lambda ranks=ranks: not any(map(is_running, ranks)))
    job = server.wait_job(job_id, wait_s=WAIT_S)
    assert job["result"]["digest"] == undisturbed["result"]["digest"]
    assert job["fence"] == 1 + sum(moment != "rank" for moment in moments)
    log = server.job_log(job_id)
    assert log.count("was killed by SIGKILL, as the system does when memory runs out; both go on") == moments.count("rank"), log
    assert log.count(GOES_ON) == len(moments)
    assert "Traceback" not in log
    assert epochs_told(server, job_id) == epochs_told(server, undisturbed["id"])
    assert not (server.home / "jobs" / job_id / "ranks").exists()
    check_clean(server)


def epochs_told(server: FaultServer, job_id: str) -> set[int]:
    return {event["epoch_metrics"]["epoch"] for event in server.events(job_id) if "epoch_metrics" in event}


def wait_ranks(server: FaultServer, job_id: str, *, not_these: list[int]) -> tuple[int, list[int]]:
    """The runner's process id and those of its two training processes, once others than these train."""

    def look() -> tuple[int, list[int]] | None:
        pid = server.wait_runner(job_id)
        with suppress(psutil.Error):
            found = [child.pid for child in psutil.Process(pid).children() if RANK in child.cmdline() and is_running(child.pid)]
            return (pid, found) if len(found) == 2 and not set(found) & set(not_these) else None
        return None

    return until("two processes train", look)


def disturb(server: FaultServer, job_id: str, moment: str, runner: int, rank: int) -> None:
    """Kills the process or the runner, nothing else with it; or pauses the job and lets it go on."""
    if moment == "pause":
        server.ask("POST", f"/api/jobs/{job_id}/pause")
        assert server.wait_job(job_id, "paused")["pid"] is None
        server.ask("POST", f"/api/jobs/{job_id}/resume")
    else:
        os.kill(rank if moment == "rank" else runner, signal.SIGKILL)

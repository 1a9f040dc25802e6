"""A training that is killed again and again gives, bit for bit, the model of one that nothing disturbed.

MODELTAP_TEST_TRAINING_KILLS=10 kills it ten times; a few times by default.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from fault_server import ENDED, FaultServer, until
from flows_under_fault import LONG_MLP, SMALL_TREES, UsedHomes, check_clean, start_training

KILLS = int(os.environ.get("MODELTAP_TEST_TRAINING_KILLS", "4"))
pytestmark = pytest.mark.timeout(240 + 60 * KILLS)
CHECKPOINT = "checkpoint"
"""The moment after which a runner has got further than the one before it; the others are phases of its progress."""


def test_a_network_that_is_killed_again_and_again_has_the_same_digest(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, long_digest: str
) -> None:
    draw = random.Random(20)
    early = max(1, KILLS // 5)
    moments = [draw.choice(("data", "features")) for _ in range(early)]
    moments += [CHECKPOINT] * (KILLS - 2 * early)
    moments += [draw.choice(("evaluate", "bundle")) for _ in range(early)]
    server = serve(used_homes.with_data)
    job_id = start_training(server, LONG_MLP)
    runner = None
    for moment in moments:
        runner = kill_runner(server, job_id, moment, delay_s=draw.uniform(0, 0.1), last_pid=runner)
    job = server.wait_job(job_id)
    assert job["fence"] == KILLS + 1
    assert job["result"]["digest"] == long_digest
    check_clean(server)


def test_trees_that_are_killed_have_the_same_digest_whatever_gc_removes_meanwhile(
    serve: Callable[..., FaultServer], used_homes: UsedHomes
) -> None:
    server = serve(used_homes.with_data)
    job_id = start_training(server, SMALL_TREES)
    kill_runner(server, job_id, "train", delay_s=0.0)

    def ended() -> bool:
        server.ask("POST", "/api/gc", json={"grace_s": 0})
        return server.job(job_id)["state"] in ENDED

    until("the training ends", ended)
    job = server.wait_job(job_id)
    assert job["fence"] == 2
    assert job["result"]["digest"] == used_homes.trees_digest
    check_clean(server)


def kill_runner(server: FaultServer, job_id: str, moment: str, *, delay_s: float, last_pid: int | None = None) -> int:
    """Kills the runner that follows `last_pid`, with all it started, so long after the moment. Its process id."""
    told, stamp = len(server.events(job_id)), server.checkpoint_stamp(job_id)
    pid = server.wait_runner(job_id, not_pid=last_pid)

    def is_there() -> bool:
        if moment == CHECKPOINT:
            return server.checkpoint_stamp(job_id) != stamp
        return any(event["phase"] == moment for event in server.events(job_id)[told:])

    until(f"the runner is at {moment}", is_there, pause_s=0.005)
    time.sleep(delay_s)
    os.killpg(pid, signal.SIGKILL)
    return pid

"""Everything of a home is killed at once, as a power cut does, again and again: the job ends as if nothing had happened.

MODELTAP_TEST_MACHINE_KILLS says how often; a few times by default.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fault_server import FaultServer, is_running, until
from flows_under_fault import LONG_MLP, UsedHomes, check_clean, start_training

KILLS = int(os.environ.get("MODELTAP_TEST_MACHINE_KILLS", "2"))
pytestmark = pytest.mark.timeout(240 + 60 * KILLS)
FREEZE = """
import os, signal, sys
if "modeltap.runner" in sys.orig_argv and sys.orig_argv[sys.orig_argv.index("--fence") + 1] == "1":
    from modeltap.jobs.lease import Lease
    from modeltap.storage.jobs import JobQueue

    def stand_still(lease):
        with lease._jobs._database.writing():
            os.kill(os.getpid(), signal.SIGSTOP)

    Lease.got_further = stand_still
"""
"""Found by Python when it starts: the first runner stops for ever in the middle of a write, once it has a checkpoint."""


def test_a_training_whose_machine_is_killed_again_and_again_has_the_same_digest(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, long_digest: str
) -> None:
    draw = random.Random(29)
    server = serve(used_homes.with_data)
    job_id = start_training(server, LONG_MLP)
    runner = None
    for number in range(KILLS):
        stamp = server.checkpoint_stamp(job_id)
        if number % 3 == 0:  # before the runner is known to anybody, or has begun
            time.sleep(draw.uniform(0, 0.3))
        else:
            runner = server.wait_runner(job_id, not_pid=runner)
            until("a checkpoint", lambda stamp=stamp: server.checkpoint_stamp(job_id) != stamp, pause_s=0.005)  # type: ignore[misc]
            time.sleep(draw.uniform(0, 0.1))
        kill_everything(server, draw)
        server.start()
    job = server.wait_job(job_id, wait_s=30.0 * max(3, KILLS))
    assert job["result"]["digest"] == long_digest
    assert [attempt["number"] for attempt in job["attempts"]] == list(range(1, job["fence"] + 1))
    assert job["attempts"][-1]["end"] == "succeeded"
    assert {attempt["end"] for attempt in job["attempts"][:-1]} <= {"vanished", "never_started"}
    assert len(server.ask("GET", "/api/models/toy")["versions"]) == 1
    check_clean(server)


def kill_everything(server: FaultServer, draw: random.Random) -> None:
    """Server and runners, one right after the other, in any order; none of them can say a word."""
    assert server.process is not None
    victims = [server.process.pid, *server.runner_pids()]
    draw.shuffle(victims)
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.kill()
    late = server.runner_pids()  # started in between
    for pid in late:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until("all are gone", lambda: not any(map(is_running, [*victims, *late])))


def test_a_runner_that_stands_still_in_a_write_stops_nobody_for_long(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, long_digest: str, tmp_path: Path
) -> None:
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(FREEZE)
    server = serve(used_homes.with_data, PYTHONPATH=str(place))
    job_id = start_training(server, LONG_MLP)
    until("the runner is ended", lambda: [one["end"] for one in server.job(job_id)["attempts"] if one["end"]])
    job = server.wait_job(job_id)
    assert [attempt["end"] for attempt in job["attempts"]] == ["frozen", "succeeded"]
    assert job["result"]["digest"] == long_digest
    check_clean(server)

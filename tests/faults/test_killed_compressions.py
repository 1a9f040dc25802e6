"""A pruning that is killed again and again ends with one version, the same as of one that nothing disturbed.

MODELTAP_TEST_COMPRESSION_KILLS says how often; a few times by default.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, serving
from flows_under_fault import UsedHomes, check_clean, check_whole, deploy, predict
from test_killed_trainings import kill_runner

KILLS = int(os.environ.get("MODELTAP_TEST_COMPRESSION_KILLS", "2"))
pytestmark = pytest.mark.timeout(240 + 60 * KILLS)
PRUNE = {
    "kind": "compress",
    "model": "toy@1",
    "prune": 0.5,
    "rounds": 2,
    "set": {"epochs": 120 if KILLS > 3 else 40, "batch_size": 8},
    "max_drop": "100pp",
}


def start(server: FaultServer) -> str:
    return str(server.ask("POST", "/api/jobs", json=PRUNE)["id"])


@pytest.fixture(scope="module")
def undisturbed(used_homes: UsedHomes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of the job when nothing happens to it."""
    home: Path = tmp_path_factory.mktemp("undisturbed") / "home"
    shutil.copytree(used_homes.with_models, home)
    with serving(home) as server:
        result: dict[str, Any] = server.wait_job(start(server))["result"]
    return result


def test_a_pruning_that_is_killed_has_the_same_digest(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, undisturbed: dict[str, Any]
) -> None:
    draw = random.Random(25)
    moments = ["checkpoint"] * (KILLS - 1) + ["evaluate"]
    server = serve(used_homes.with_models)
    job_id = start(server)
    runner = None
    for moment in moments:
        runner = kill_runner(server, job_id, moment, delay_s=draw.uniform(0, 0.1), last_pid=runner)
    job = server.wait_job(job_id, wait_s=30.0 * (KILLS + 1))
    assert job["fence"] == len(moments) + 1
    assert job["result"]["digest"] == undisturbed["digest"]
    quality = [{k: r["certificate"][k] for k in ("drop", "drop_interval", "child_bytes")} for r in (job["result"], undisturbed)]
    assert quality[0] == quality[1]
    deploy(server, job["result"]["version"], "narrow")
    assert predict(server, "narrow")["predictions"]
    check_clean(server)


def test_a_pruning_is_paused_goes_on_and_is_cancelled(serve: Callable[..., FaultServer], used_homes: UsedHomes) -> None:
    server = serve(used_homes.with_models)
    job_id = start(server)
    server.wait_training(job_id)
    server.ask("POST", f"/api/jobs/{job_id}/pause")
    server.wait_job(job_id, "paused")
    reached = server.checkpoint_stamp(job_id)
    server.ask("POST", f"/api/jobs/{job_id}/resume")
    server.wait_runner(job_id)
    assert reached is not None
    server.ask("POST", f"/api/jobs/{job_id}/cancel")
    server.wait_job(job_id, "cancelled", "succeeded")
    check_whole(server)

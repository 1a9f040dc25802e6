"""Every named crash point: kill -9 there, start again, and nothing is half done, lost or left over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from fault_server import FaultServer, is_running, serving, until
from flows_under_fault import (
    SMALL_MLP,
    SMALL_TREES,
    UsedHomes,
    add_data,
    check_clean,
    check_whole,
    deploy,
    predict,
    settle,
    start_training,
)

from modeltap.faults import CRASH_POINTS

BATCH_POINTS = {name for name in CRASH_POINTS if name.startswith("batch.")}
"""Walked in test_batches.py."""
FINE_TUNING_POINTS = {name for name in CRASH_POINTS if name.startswith("fine_tune.")}
"""Walked in test_killed_fine_tunings.py."""
TRIAL_POINTS = {name for name in CRASH_POINTS if name.startswith("trial.")}
"""Walked in test_killed_searches.py, all of them in its larger form."""


@dataclass(frozen=True)
class Walk:
    """What a user does, where a process dies meanwhile, and which: the server, the job's runner, or both, one by one."""

    operation: Literal["add", "train", "train trees", "deploy"]
    crash_at: str
    victim: Literal["server", "runner", "both"]

    def __str__(self) -> str:
        return f"{self.operation}-{self.crash_at}"


WALKS = (
    Walk("add", "upload.spooled", "server"),
    Walk("add", "job.queued", "server"),
    Walk("add", "job.claimed", "server"),
    Walk("add", "job.spawned", "server"),
    Walk("add", "dataset.blobs_written", "runner"),
    Walk("add", "dataset.before_commit", "both"),
    Walk("add", "dataset.committed", "both"),
    Walk("add", "job.before_result", "both"),
    Walk("train", "checkpoint.before_rename:2", "both"),
    Walk("train", "checkpoint.renamed", "runner"),
    Walk("train", "train.finished", "runner"),
    Walk("train trees", "artifact.before_rename:3", "runner"),
    Walk("train trees", "version.blobs_written", "runner"),
    Walk("train trees", "version.before_commit", "both"),
    Walk("train trees", "version.committed", "both"),
    Walk("deploy", "deployment.before_commit", "server"),
    Walk("deploy", "deployment.committed", "server"),
)


@pytest.fixture(scope="module")
def walked(
    used_homes: UsedHomes, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[Walk], None]]:
    """Waits for a walk. All that were asked for are under way side by side: each spends most of its time waiting."""
    asked_for = {item.name for item in request.session.items}
    pool = ThreadPoolExecutor((os.cpu_count() or 1) + 1)
    futures: dict[Walk, Future[None]] = {
        walk: pool.submit(run_walk, walk, used_homes, tmp_path_factory.mktemp("walk") / "home")
        for walk in WALKS
        if f"{test_nothing_is_half_done_after_a_crash.__name__}[{walk}]" in asked_for
    }
    yield lambda walk: futures[walk].result()
    pool.shutdown(cancel_futures=True)


def test_the_walks_pass_every_crash_point() -> None:
    walked = {walk.crash_at.partition(":")[0] for walk in WALKS}
    assert walked | BATCH_POINTS | FINE_TUNING_POINTS | TRIAL_POINTS == set(CRASH_POINTS)


@pytest.mark.parametrize("walk", WALKS, ids=str)
def test_nothing_is_half_done_after_a_crash(walk: Walk, walked: Callable[[Walk], None]) -> None:
    walked(walk)


def run_walk(walk: Walk, used: UsedHomes, home: Path) -> None:
    """Crashes, starts again, and fails where anything is not as it must be."""
    if walk.operation != "add":
        shutil.copytree(used.with_models if walk.operation == "deploy" else used.with_data, home)
    with serving(home, MODELTAP_CRASH_AT=walk.crash_at, MODELTAP_CHECKPOINT_EVERY_S="0") as server:
        crash(server, walk)
        check_whole(server)
        jobs = settle(server)
        check_whole(server)
        match walk.operation:
            case "add":
                check_added(server, walk, jobs, used.dataset_digest)
            case "train":
                check_trained(server, jobs[0], used.mlp_digest)
            case "train trees":
                check_trained(server, jobs[0], used.trees_digest)
            case "deploy":
                check_deployed(server, walk)
        check_clean(server)


def crash(server: FaultServer, walk: Walk) -> None:
    """Begins the operation and sees the victim die; the server runs afterwards, with no more crashes to come."""
    if walk.victim == "server":
        with pytest.raises(httpx.TransportError):
            deploy(server) if walk.operation == "deploy" else add_data(server)
        server.wait_killed()
        server.start()
        return
    match walk.operation:
        case "train":
            job_id = start_training(server, SMALL_MLP)
        case "train trees":
            job_id = start_training(server, SMALL_TREES)
        case _:
            job_id = add_data(server, wait_s=0)["id"]
    runner = server.wait_runner(job_id)
    until("the runner dies", lambda: not is_running(runner))
    if walk.victim == "both":
        server.kill()
        server.start()


def check_added(server: FaultServer, walk: Walk, jobs: list[dict[str, Any]], digest: str) -> None:
    """The import went through if there was a job, and the same file once more gives the same version."""
    kept = walk.crash_at != "upload.spooled"
    assert [job["state"] for job in jobs] == ["succeeded"] * kept, jobs
    if walk.victim != "server":
        assert jobs[0]["fence"] == 2, "the first runner did not crash"
    again = add_data(server)
    assert (again["id"], again["digest"], again["created"]) == ("toy@1", digest, not kept)


def check_trained(server: FaultServer, job: dict[str, Any], digest: str) -> None:
    """The job registered one version, with the digest of a training that nothing disturbed."""
    assert (job["state"], job["fence"]) == ("succeeded", 2), job
    assert (job["result"]["version"], job["result"]["digest"]) == ("toy@1", digest)
    versions = server.ask("GET", "/api/models/toy")["versions"]
    assert [(version["id"], version["job"]) for version in versions] == [("toy@1", job["id"])]


def check_deployed(server: FaultServer, walk: Walk) -> None:
    """The deployment is there as a whole or not at all, and the same request once more goes through."""
    listed = [deployment["name"] for deployment in server.ask("GET", "/api/deployments")["deployments"]]
    assert listed == ["live"] * (walk.crash_at == "deployment.committed")
    assert deploy(server)["status"] == "ready"
    assert predict(server)["model"] == "toy@1"

"""A home on a disk that is full: a named failure, nothing half done, and on it goes once there is space."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from fault_server import ENDED, FaultServer, serving, until
from flows_under_fault import (
    LONG_MLP,
    SMALL_TREES,
    UsedHomes,
    add_data,
    check_clean,
    check_whole,
    start_training,
    table,
)
from small_disk import SmallDisk

WIDE_MLP = LONG_MLP | {"model": {"architecture": "mlp", "hidden": [256, 256]}, "epochs": 4}
"""Its checkpoint takes a megabyte."""


@pytest.fixture
def server(disk: SmallDisk, used_homes: UsedHomes) -> Iterator[FaultServer]:
    """Serves a home on the small disk that holds toy@1."""
    shutil.copytree(used_homes.with_data, disk.place / "home")
    with serving(disk.place / "home") as server:
        yield server


@pytest.mark.parametrize("free_bytes", [100_000, 700_000], ids=["for half of the upload", "for the upload alone"])
def test_data_that_does_not_fit_is_not_added(disk: SmallDisk, server: FaultServer, free_bytes: int) -> None:
    before = check_whole(server)
    content = table(20_000)
    disk.leave(free_bytes)
    params = {"name": "big", "filename": "big.csv", "target": "label"}
    answer = server.client.post("/api/datasets", params=params, content=content)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_failed"), answer.text
    assert "free some space" in answer.json()["detail"]
    assert [found["id"] for found in server.ask("GET", "/api/datasets")["datasets"]] == ["toy@1"]
    assert check_whole(server) == before
    disk.free()
    jobs = [job for job in server.ask("GET", "/api/jobs")["jobs"] if job["spec"]["name"] == "big"]
    if jobs:
        server.ask("POST", f"/api/jobs/{jobs[0]['id']}/resume")
        server.wait_job(jobs[0]["id"])
    assert add_data(server, name="big", content=content)["created"] is (not jobs)
    check_clean(server)


@pytest.mark.parametrize(("recipe", "free_bytes"), [(WIDE_MLP, 300_000), (SMALL_TREES, 100_000)], ids=["checkpoint", "bundle"])
def test_a_training_that_does_not_fit_says_so_waits_and_goes_on(
    disk: SmallDisk, server: FaultServer, recipe: dict[str, Any], free_bytes: int
) -> None:
    disk.leave(free_bytes)
    job_id = start_training(server, recipe)
    job = wait_waiting(server, job_id)
    assert job["waiting"]["code"] == "storage_failed", (job["waiting"], server.job_log(job_id))
    assert "free some space" in job["waiting"]["detail"]
    assert job["not_before"] > job["attempts"][-1]["ended_at"]
    assert server.ask("GET", "/api/models")["models"] == []
    check_whole(server)
    disk.free()  # nobody needs to say that it may go on
    job = server.wait_job(job_id)
    assert job["result"]["version"] == "toy@1"
    ends = [attempt["end"] for attempt in job["attempts"]]
    assert ends[-1] == "succeeded" and set(ends[:-1]) == {"waits"}
    check_clean(server)


def wait_waiting(server: FaultServer, job_id: str) -> dict[str, Any]:
    """The job, once it waits to be tried again."""

    def look() -> dict[str, Any] | None:
        job = server.job(job_id)
        assert job["state"] not in ENDED, (job["state"], job["error"], server.job_log(job_id))
        return job if job["not_before"] else None

    return until("the job waits", look)


def test_a_training_on_a_disk_without_a_byte_left_waits_and_goes_on(
    disk: SmallDisk, server: FaultServer, long_digest: str
) -> None:
    job_id = start_training(server, LONG_MLP)
    runner = server.wait_training(job_id)
    disk.leave(0)
    job = wait_waiting(server, job_id)
    assert job["waiting"]["code"] == "storage_failed", (job["waiting"], server.job_log(job_id))
    until("the runner ends", lambda: runner not in server.runner_pids())
    disk.leave(0)
    answer = server.client.post("/api/datasets", params={"name": "more", "filename": "more.csv"}, content=table())
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_failed"), answer.text
    check_whole(server)
    server.ask("POST", "/api/gc")
    disk.free()
    assert server.wait_job(job_id)["result"]["digest"] == long_digest

"""Pause, cancel and resume, of runners that obey and of one that hears nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from fault_server import FaultServer, is_group, stopped, until
from flows_under_fault import LONG_MLP, UsedHomes, start_training

STOPPED_WITHIN_S = 6.0


def test_a_paused_training_ends_at_a_checkpoint_and_goes_on_from_it(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, long_digest: str
) -> None:
    server = serve(used_homes.with_data)
    job_id = start_training(server, LONG_MLP)
    runner = server.wait_training(job_id)
    server.ask("POST", f"/api/jobs/{job_id}/pause")
    job = server.wait_job(job_id, "paused")
    assert job["pid"] is None
    until("the runner's processes are gone", lambda: not is_group(runner))
    assert server.checkpoint_stamp(job_id) is not None
    told = len(server.events(job_id))

    server.ask("POST", f"/api/jobs/{job_id}/resume")
    job = server.wait_job(job_id)
    assert job["result"]["digest"] == long_digest
    assert any("goes on in epoch" in event.get("message", "") for event in server.events(job_id)[told:])


def test_a_runner_that_hears_nothing_is_cancelled_all_the_same_and_may_be_resumed(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, long_digest: str
) -> None:
    server = serve(used_homes.with_data)
    job_id = start_training(server, LONG_MLP)
    runner = server.wait_training(job_id)
    with stopped(runner, server.home):  # as deaf to SIGTERM as one that is deep in a library
        asked_at = datetime.now(UTC)
        server.ask("POST", f"/api/jobs/{job_id}/cancel")
        job = server.wait_job(job_id, "cancelled")
    assert (datetime.fromisoformat(job["ended_at"]) - asked_at).total_seconds() < STOPPED_WITHIN_S
    until("the runner's processes are gone", lambda: not is_group(runner))

    server.ask("POST", f"/api/jobs/{job_id}/resume")
    assert server.wait_job(job_id)["result"]["digest"] == long_digest

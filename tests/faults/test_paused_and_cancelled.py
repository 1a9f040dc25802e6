"""Pause, cancel and resume, of runners that obey and of one that hears nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from fault_server import FaultServer, is_group, stopped, until
from flows_under_fault import LONG_MLP, UsedHomes, start_training

from modeltap.jobs.watched import KILL_AFTER_S

PROMISED_S = 6.0
SLACK_S = 4.0
"""Of a busy machine."""


def test_a_training_that_is_paused_and_then_cancelled_goes_on_from_its_checkpoint_each_time(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, long_digest: str
) -> None:
    server = serve(used_homes.with_data)
    job_id = start_training(server, LONG_MLP)
    first = server.wait_training(job_id)
    server.ask("POST", f"/api/jobs/{job_id}/pause")
    job = server.wait_job(job_id, "paused")
    assert job["pid"] is None
    until("the runner's processes are gone", lambda: not is_group(first))
    saved = server.checkpoint_stamp(job_id)
    assert saved is not None

    server.ask("POST", f"/api/jobs/{job_id}/resume")
    second = server.wait_runner(job_id, not_pid=first)
    until("the training has gone on", lambda: server.checkpoint_stamp(job_id) != saved, pause_s=0.005)
    assert KILL_AFTER_S < PROMISED_S
    with stopped(second, server.home):  # as deaf to SIGTERM as one that is deep in a library
        asked_at = datetime.now(UTC)
        server.ask("POST", f"/api/jobs/{job_id}/cancel")
        job = server.wait_job(job_id, "cancelled")
    assert (datetime.fromisoformat(job["ended_at"]) - asked_at).total_seconds() < PROMISED_S + SLACK_S
    until("the runner's processes are gone", lambda: not is_group(second))

    server.ask("POST", f"/api/jobs/{job_id}/resume")
    job = server.wait_job(job_id)
    assert (job["fence"], job["result"]["digest"]) == (3, long_digest)
    went_on = [event for event in server.events(job_id) if "goes on in epoch" in event.get("message", "")]
    assert len(went_on) == 2

"""A search whose trials, runner and server are killed: no trial is run twice, none is lost, and the model is the same."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, is_running, serving, until
from flows_under_fault import UsedHomes, check_clean

NUM_TRIALS = int(os.environ.get("MODELTAP_TEST_SEARCH_TRIALS", "4"))
"""Four or more; from LARGE on, every place of a crash is walked too, and pauses."""
LARGE = 10
LONG_S = 600.0 if NUM_TRIALS < LARGE else 3600.0
"""Of a search on a machine that has much else to do."""
pytestmark = pytest.mark.timeout(2 * LONG_S)
RECIPE: dict[str, Any] = {
    "task": "tabular-classification",
    "model": {"architecture": "mlp", "hidden": [8], "dropout": 0.1},
    "early_stopping": None,
    "epochs": 40,
    "batch_size": 8,
    "threads": 1,
    "search": {
        "trials": NUM_TRIALS,
        "metric": "roc_auc",
        "space": {"optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}, "model.dropout": {"low": 0, "high": 0.3}},
    },
}


def start(server: FaultServer) -> str:
    return str(server.ask("POST", "/api/jobs", json={"kind": "tune", "dataset": "toy", "recipe": RECIPE})["id"])


def folder(server: FaultServer, job_id: str, number: int) -> Path:
    return server.home / "jobs" / job_id / "trials" / str(number)


def wait_trial(server: FaultServer, job_id: str, number: int) -> int:
    """The process id of that trial, once it has saved a checkpoint."""

    def look() -> int | None:
        with suppress(FileNotFoundError, ValueError):
            if (folder(server, job_id, number) / "checkpoint.safetensors").exists():
                return int((folder(server, job_id, number) / "lock").read_text())
        return None

    return until(f"trial {number} is under way", look, wait_s=LONG_S, pause_s=0.005)


def trials(server: FaultServer, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.ask("GET", f"/api/jobs/{job_id}/trials")["trials"]
    return found


def ends(server: FaultServer, job_id: str) -> list[int]:
    """The number of each trial that people were told had ended."""
    told = [event.get("message", "") for event in server.events(job_id)]
    return sorted(int(message.split()[1]) for message in told if message.startswith("trial "))


@pytest.fixture(scope="module")
def undisturbed(used_homes: UsedHomes, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """The digest of the best model when nothing is killed, and the trials."""
    home = tmp_path_factory.mktemp("searched") / "home"
    shutil.copytree(used_homes.with_data, home)
    with serving(home) as server:
        job_id = start(server)
        job = server.wait_job(job_id, wait_s=LONG_S)
        server.ask("POST", "/api/gc", json={"grace_s": 0})
        left = sorted(path.name for path in (server.home / "jobs" / job_id).iterdir())
        assert left == ["events.jsonl", "log", "report.html", "trials.jsonl"], "what people read is kept"
        return job["result"]["digest"], trials(server, job_id)


def test_no_trial_is_run_twice_and_none_is_lost_whoever_is_killed(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, undisturbed: tuple[str, list[dict[str, Any]]]
) -> None:
    server = serve(used_homes.with_data, MODELTAP_CRASH_AT=f"trial.told:{RECIPE['epochs'] + 9}")  # the runner, in trial 1
    job_id = start(server)
    os.kill(wait_trial(server, job_id, 2), signal.SIGKILL)
    wait_trial(server, job_id, NUM_TRIALS - 2)
    runner = server.wait_runner(job_id)
    server.kill()
    os.kill(runner, signal.SIGKILL)  # alone: its trial hears of it when it next speaks
    server.start()

    job = server.wait_job(job_id, wait_s=LONG_S)
    assert job["fence"] == 3
    digest, expected = undisturbed
    assert trials(server, job_id) == expected
    assert [trial["number"] for trial in expected] == list(range(NUM_TRIALS))
    assert job["result"]["digest"] == digest
    assert ends(server, job_id) == list(range(NUM_TRIALS)), "each ended once"
    check_clean(server)


@pytest.mark.skipif(NUM_TRIALS < LARGE, reason="each takes as long as the test above")
@pytest.mark.parametrize("place", ["trial.asked:3", "trial.told:70", "trial.ended:2", "checkpoint.renamed:4"])
def test_a_search_that_crashes_anywhere_has_the_trials_of_one_that_does_not(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, undisturbed: tuple[str, list[dict[str, Any]]], place: str
) -> None:
    server = serve(used_homes.with_data, MODELTAP_CRASH_AT=place)
    job_id = start(server)
    job = server.wait_job(job_id, wait_s=LONG_S)
    assert (job["result"]["digest"], trials(server, job_id)) == undisturbed
    assert job["fence"] == (1 if place.startswith("checkpoint") else 2)
    assert ends(server, job_id) == list(range(NUM_TRIALS))


@pytest.mark.skipif(NUM_TRIALS < LARGE, reason="as the one above")
def test_a_search_that_is_paused_stands_still_and_goes_on_where_it_was(
    serve: Callable[..., FaultServer], used_homes: UsedHomes, undisturbed: tuple[str, list[dict[str, Any]]]
) -> None:
    server = serve(used_homes.with_data)
    job_id = start(server)
    trial = wait_trial(server, job_id, 1)
    server.ask("POST", f"/api/jobs/{job_id}/pause")
    server.wait_job(job_id, "paused")
    assert not is_running(trial)
    server.ask("POST", f"/api/jobs/{job_id}/resume")
    wait_trial(server, job_id, 2)
    server.ask("POST", f"/api/jobs/{job_id}/cancel")
    server.wait_job(job_id, "cancelled")
    server.ask("POST", f"/api/jobs/{job_id}/resume")
    job = server.wait_job(job_id, wait_s=LONG_S)
    assert (job["result"]["digest"], trials(server, job_id)) == undisturbed

"""Batches whose runner or server is killed: the answers are those of a batch that nothing disturbed, and each row is charged
once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from batch_home import ROW_COST, answered, charged, deploy_all, flat, lines_of, make_home, new_key, people, predicted, start
from fault_server import FaultServer, until

CHUNK_ROWS = 6
ROWS = people(150)
BAD = {20: "age: 'x' is not a number", 149: "age: 'x' is not a number"}
CONTENT = lines_of([{**row, "age": "x"} if place in BAD else row for place, row in enumerate(ROWS)])


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the models of `batch_home`, all of them deployed."""
    home = make_home(tmp_path_factory.mktemp("batches") / "home")
    server = FaultServer(home).start()
    try:
        deploy_all(server)
        assert server.stop() == 0, server.log()
    finally:
        server.close()
    return home


@dataclass
class Begun:
    """A batch under way, of a key of its own."""

    server: FaultServer
    job_id: str
    key_id: str

    def num_chunks(self) -> int:
        folder = self.server.home / "jobs" / self.job_id / "answers"
        return len(list(folder.glob("0*.json"))) if folder.is_dir() else 0

    def wait_chunks(self, num_chunks: int) -> None:
        until("the batch has come so far", lambda: self.num_chunks() >= num_chunks, pause_s=0.001)

    def wait_for_limit(self) -> None:
        """The batch waits for the rate of its key, as long as nobody raises it."""

        def waits() -> bool:
            told = self.server.job(self.job_id)["progress"]
            return told is not None and told["phase"] == "wait"

        until("the batch waits for its limit", waits)

    def limit(self, upm: int | None) -> None:
        self.server.ask("PATCH", f"/api/keys/{self.key_id}", json={"limits": {"upm": upm}})

    def check(self) -> None:
        """Every row has the answer that it has alone, and was charged once if it has one."""
        job = self.server.wait_job(self.job_id)
        good = [place for place in range(len(ROWS)) if place not in BAD]
        wanted = flat(predicted(self.server, [ROWS[place] for place in good]))
        found = answered(self.server, self.job_id)
        assert [one["row"] for one in found] == list(range(1, len(ROWS) + 1))
        assert [{**found[place], "row": 0} for place in good] == [{**one, "row": 0} for one in wanted]
        assert {place: found[place]["error"] for place in BAD} == BAD
        assert charged(self.server, self.key_id) == (len(good), len(good) * ROW_COST)
        assert Decimal(job["result"]["cost"]) == len(good) * ROW_COST
        assert self.server.ask("GET", "/api/audit")["clean"]
        kept = {path.name for path in (self.server.home / "jobs" / self.job_id).iterdir()}
        assert kept == {"log", "events.jsonl", "answers", "output.csv", "output.jsonl", "reading.json"}
        assert not list((self.server.home / "uploads").iterdir())


@pytest.fixture
def begin(serve: Callable[..., FaultServer], deployed: Path) -> Callable[..., Begun]:
    def begin(upm: int | None = None, **environment: str) -> Begun:
        server = serve(deployed, **environment)
        key_id, key = new_key(server, upm=upm)
        return Begun(server, start(server, CONTENT, key=key, chunk_rows=CHUNK_ROWS), key_id)

    return begin


@pytest.mark.parametrize(("point", "victim"), [("batch.planned", "both"), ("batch.answered", "runner")])
def test_a_runner_that_dies_at_a_named_place_is_followed_by_one_that_goes_on_there(
    point: str, victim: str, begin: Callable[..., Begun]
) -> None:
    batch = begin(MODELTAP_CRASH_AT=f"{point}:9")
    batch.server.wait_runner(batch.job_id)
    until("the runner dies", lambda: batch.server.job(batch.job_id)["fence"] > 1 or not batch.server.runner_pids())
    if victim == "both":
        batch.server.kill()
        batch.server.start()
    batch.check()
    assert batch.server.job(batch.job_id)["fence"] == 2


def test_a_server_that_dies_again_and_again_is_waited_for(begin: Callable[..., Begun]) -> None:
    batch = begin()
    runner = batch.server.wait_runner(batch.job_id)
    for num_chunks in (1, 4, 5, 14):
        batch.wait_chunks(num_chunks)
        batch.server.kill()
        batch.server.start()
    batch.check()
    job = batch.server.job(batch.job_id)
    assert job["fence"] == 1, f"the runner {runner} did not go on"


def test_runner_and_server_die_at_any_moment(begin: Callable[..., Begun]) -> None:
    batch = begin()
    for num_chunks in (2, 7, 16):
        batch.wait_chunks(num_chunks)
        for pid in batch.server.runner_pids():
            os.killpg(pid, signal.SIGKILL)
        if num_chunks == 7:
            batch.server.kill()
            batch.server.start()
    batch.check()


def test_a_batch_that_is_paused_and_cancelled_goes_on_where_it_was(begin: Callable[..., Begun]) -> None:
    batch = begin(upm=20)
    server, job_id = batch.server, batch.job_id
    for action, state, upm in (("pause", "paused", 60), ("cancel", "cancelled", None)):
        batch.wait_for_limit()
        server.ask("POST", f"/api/jobs/{job_id}/{action}")
        server.wait_job(job_id, state)
        until("the runner ends", lambda: not server.runner_pids())
        partial = answered(server, job_id)
        assert charged(server, batch.key_id)[0] == sum(not one["error"] for one in partial) > 0
        assert server.ask("POST", "/api/gc", json={"grace_s": 0})["removed"] == 0
        assert answered(server, job_id) == partial
        batch.limit(upm)
        server.ask("POST", f"/api/jobs/{job_id}/resume")
    batch.check()


def test_another_version_on_the_way_answers_the_rows_that_are_left(begin: Callable[..., Begun]) -> None:
    batch = begin(upm=20)
    server, job_id = batch.server, batch.job_id
    batch.wait_for_limit()
    server.ask("POST", f"/api/jobs/{job_id}/pause")
    server.wait_job(job_id, "paused")
    before = answered(server, job_id)
    server.ask("POST", "/api/deployments", json={"name": "people", "model": "people@2"})
    batch.limit(None)
    server.ask("POST", f"/api/jobs/{job_id}/resume")
    result = server.wait_job(job_id)["result"]
    assert result["models"] == ["people@1", "people@2"]
    found = answered(server, job_id)
    assert found[: len(before)] == before and len(found) == len(ROWS)
    left = [place for place in range(len(before), len(ROWS)) if place not in BAD]
    wanted = flat(predicted(server, [ROWS[place] for place in left]))
    assert [{**found[place], "row": 0} for place in left] == [{**one, "row": 0} for one in wanted]
    assert charged(server, batch.key_id)[0] == result["answered"] == len(ROWS) - len(BAD)

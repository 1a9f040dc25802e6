"""Batches of OpenAI's protocol whose runner or server is killed: each line is answered as it is alone, and charged once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import openai
import pytest
from fault_server import FaultServer, until

from openai_home import CHAT, chat_line, client_of, ended_batch, jsonl, lines_in, new_key, tiny_home

NUM_LINES = 200
BAD = {17, 111}
"""Lines for a model that is not there."""
LINES = [chat_line(number, f"number {number}", **({"model": "nobody"} if number in BAD else {})) for number in range(NUM_LINES)]


@dataclass
class Begun:
    """A batch under way, of a key of its own."""

    server: FaultServer
    batch_id: str
    key_id: str
    key: str

    @property
    def job_id(self) -> str:
        return self.batch_id.replace("batch_", "job-")

    @property
    def client(self) -> openai.OpenAI:
        """Of the server as it runs now."""
        return client_of(self.server, self.key)

    @cached_property
    def folder(self) -> Path:
        return self.server.home / "jobs" / self.job_id

    def num_kept(self) -> int:
        path = self.folder / "answers.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_kept(self, num_lines: int) -> None:
        until("so many lines are answered", lambda: self.num_kept() >= num_lines, pause_s=0.001)

    def restart(self) -> None:
        self.server.kill()
        self.server.start()

    def charged(self) -> tuple[int, int]:
        """Requests that were answered, and tokens."""
        sums = self.server.ask("GET", "/api/usage", params={"by": "key", "key": self.key_id})["sums"]
        return sum(one["answered"] for one in sums), sum(one["units"] for one in sums)

    def check(self) -> Any:
        batch = ended_batch(self.client, self.batch_id)
        assert batch.status == "completed", self.server.job_log(self.job_id)
        assert (batch.request_counts.completed, batch.request_counts.failed) == (NUM_LINES - len(BAD), len(BAD))
        good = lines_in(self.client.files.content(batch.output_file_id).read())
        bad = lines_in(self.client.files.content(batch.error_file_id).read())
        assert [one["custom_id"] for one in good] == [f"line-{n}" for n in range(NUM_LINES) if n not in BAD]
        assert [one["custom_id"] for one in bad] == [f"line-{n}" for n in sorted(BAD)]
        assert {one["response"]["body"]["error"]["code"] for one in bad} == {"model_not_found"}
        told = sum(one["response"]["body"]["usage"]["total_tokens"] for one in good)
        assert self.charged() == (len(good), told)
        assert batch.usage is not None and batch.usage.total_tokens == told
        assert self.server.ask("GET", "/api/audit")["clean"]
        return good


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_home(tmp_path_factory)


@pytest.fixture
def begin(serve: Callable[..., FaultServer], home: Path) -> Callable[..., Begun]:
    def begin(limits: dict[str, int] | None = None, **environment: str) -> Begun:
        server = serve(home, **environment)
        key_id, key = new_key(server, "predict", limits=limits or {})
        client = client_of(server, key)
        file = client.files.create(file=("requests.jsonl", jsonl(LINES)), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        client.files.delete(file.id)
        return Begun(server, batch.id, key_id, key)

    return begin


def test_runner_and_server_die_again_and_again_and_no_line_is_answered_twice(begin: Callable[..., Begun]) -> None:
    batch = begin()
    for num_lines, victims in ((5, "runner"), (40, "server"), (90, "both"), (150, "runner")):
        batch.wait_kept(num_lines)
        if victims != "server":
            for pid in batch.server.runner_pids():
                os.killpg(pid, signal.SIGKILL)
        if victims != "runner":
            batch.restart()
    good = batch.check()
    for one in (good[0], good[-1]):
        number = int(one["custom_id"].removeprefix("line-"))
        alone = client_of(batch.server).chat.completions.create(**LINES[number]["body"])
        assert alone.choices[0].message.content == one["response"]["body"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize("point", ["batch.answered:60", "batch.kept"])
def test_a_runner_that_dies_at_a_named_place_is_followed_by_one_that_goes_on_there(
    point: str, begin: Callable[..., Begun]
) -> None:
    batch = begin(MODELTAP_CRASH_AT=point)
    batch.check()
    assert batch.server.job(batch.job_id)["fence"] == 2
    made = [file for file in batch.client.files.list() if file.purpose == "batch_output"]
    assert len(made) == 2


def test_a_line_that_was_half_written_is_sent_again_and_not_charged_again(begin: Callable[..., Begun]) -> None:
    batch = begin(MODELTAP_CRASH_AT="batch.answered:30")
    until("the runner dies", lambda: batch.num_kept() == 29 and not batch.server.runner_pids(), pause_s=0.001)
    answers = batch.folder / "answers.jsonl"
    answers.write_bytes(answers.read_bytes()[:-20])
    batch.check()


def test_what_a_cancelled_batch_had_is_kept_also_where_its_runner_was_killed_meanwhile(begin: Callable[..., Begun]) -> None:
    batch = begin(limits={"rpm": 60})

    def waits() -> bool:
        told = batch.server.job(batch.job_id)["progress"]
        return told is not None and told["phase"] == "wait"

    until("the batch waits for the limit of its key", waits)
    assert batch.client.batches.cancel(batch.batch_id).status in ("cancelling", "cancelled")
    for pid in batch.server.runner_pids():
        os.killpg(pid, signal.SIGKILL)
    found = ended_batch(batch.client, batch.batch_id)
    assert found.status == "cancelled" and found.cancelled_at is not None and found.output_file_id is not None
    good = lines_in(batch.client.files.content(found.output_file_id).read())
    assert 0 < len(good) == found.request_counts.completed <= 60
    assert len({one["custom_id"] for one in good}) == len(good)
    assert batch.server.ask("POST", "/api/gc", json={"grace_s": 0})["removed"] >= 0
    assert lines_in(batch.client.files.content(found.output_file_id).read()) == good
    again = batch.client.batches.retrieve(batch.batch_id)
    assert again.output_file_id == found.output_file_id

"""What a batch does with every answer that its server may give: it waits, asks for fewer rows, or ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scripted_server import Answerer, Reply, Sent, json_reply, problem, serve

from modeltap.client.errors import ConnectionFailed
from modeltap.domain.job import Job
from modeltap.errors import BudgetSpent, Forbidden, InvalidValue, Overloaded, RateLimited, StorageFailed
from modeltap.runner import batch_sending, home_server
from modeltap.runner.batch_sending import Reply as Answered
from modeltap.runner.batch_sending import Sender
from modeltap.runner.steps import Step
from modeltap.training.stopped import Stopped

NAME = "job-1-7"
BODY = b'[{"age": 1}]'
GOOD = json_reply({"predictions": [3.5], "model": "people@2", "id": "x"})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "admin.key").write_text("mt-admin-key\n")
    return tmp_path


def announce(home: Path, url: str, pid: int | None = None) -> None:
    (home / "server.json").write_bytes(msgspec.json.encode({"url": url, "pid": os.getpid() if pid is None else pid}))


def script(*replies: Reply) -> Answerer:
    """These to the predictions, one after the other; the last one again and again."""
    left = list(replies)

    def answer(sent: Sent) -> Reply:
        if sent.path == "/livez":
            return json_reply({"live": True})
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


class Sending:
    """A sender on that home, and what it said it waits for."""

    def __init__(self, home: Path, stop: Callable[[], bool] = lambda: False) -> None:
        job = Job(id="job-1", tenant="acme", kind="batch", state="running", spec={}, created_at=datetime.now(UTC))
        nothing: Any = None
        step = Step(
            job=job,
            home=home,
            database=nothing,
            artifacts=nothing,
            workdir=home,
            report=lambda _progress: None,
            stop_requested=stop,
        )
        self.waits: list[str] = []
        self.sender = Sender(step, deployment="people", key="key-1", on_wait=self.waits.append)

    def send(self, rows: int = 5) -> Any:
        with closing(self.sender):
            return self.sender.send(NAME, BODY, rows=rows)


def rate_limited(retry_after_s: float | None, limit: str = "upm") -> Reply:
    return problem(429, "rate_limit_exceeded", "too many units", limit=limit, retry_after_s=retry_after_s)


LATER = 0.01
PASSING = {
    "rate": [rate_limited(LATER)],
    "concurrency": [rate_limited(LATER, "concurrency")] * 3,
    "requests": [rate_limited(LATER, "rpm")] * 3,
    "loading": [problem(503, "model_loading", "it is being loaded", retry_after_s=LATER)] * 2,
    "unavailable": [problem(503, "unavailable", "it ends", retry_after_s=LATER)],
    "twice": [problem(409, "conflict", "is being answered")],
    "broken": [Reply(200, b'{"predictions', breaks=True)],
}


@pytest.mark.parametrize("replies", PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_out_and_the_same_request_is_sent_again(
    replies: list[Reply], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_sending, "CONFLICT_S", LATER)
    with serve(script(*replies, GOOD)) as server:
        announce(home, server.url)
        reply = Sending(home).send()
    assert isinstance(reply, Answered) and (reply.predictions, reply.model) == ([3.5], "people@2")
    asked = [sent for sent in server.sent if sent.path == "/predict/people"]
    assert len(asked) == len(replies) + 1
    assert {sent.body for sent in asked} == {BODY}
    for sent in asked:
        headers = {name.lower(): value for name, value in sent.headers.items()}
        assert headers["idempotency-key"] == headers["x-request-id"] == NAME
        assert (headers["authorization"], headers["modeltap-key"]) == ("Bearer mt-admin-key", "key-1")
        assert (headers["modeltap-tenant"], headers["modeltap-priority"]) == ("acme", "bulk")


def test_a_wait_that_is_long_enough_to_be_noticed_is_told(home: Path) -> None:
    stop = False
    with serve(script(rate_limited(40.0))) as server:
        announce(home, server.url)
        sending = Sending(home, lambda: stop)

        def told(why: str) -> None:
            nonlocal stop
            assert "too many units" in why and "40 s" in why
            stop = True

        sending.sender._server._on_wait = told
        with pytest.raises(Stopped):
            sending.send()


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ([rate_limited(None)], RateLimited),
        ([rate_limited(LATER)] * 2, RateLimited),
        ([problem(429, "insufficient_quota", "spent", limit="budget_day", retry_after_s=9000.0)], BudgetSpent),
        ([problem(503, "server_is_overloaded", "too late", retry_after_s=LATER)], Overloaded),
        ([problem(422, "invalid_value", "row 2", errors=[{"field": "[1].age", "detail": "no"}])], InvalidValue),
    ],
    ids=["never", "again", "budget", "overloaded", "value"],
)
def test_what_fewer_rows_may_change_comes_back_at_once(replies: list[Reply], kind: type[Exception], home: Path) -> None:
    with serve(script(*replies, GOOD)) as server:
        announce(home, server.url)
        assert isinstance(Sending(home).send(), kind)
    assert len([sent for sent in server.sent if sent.method == "POST"]) == len(replies)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (rate_limited(None), RateLimited),
        (problem(429, "insufficient_quota", "spent", limit="budget_day", retry_after_s=9000.0), BudgetSpent),
        (problem(403, "forbidden", "revoked"), Forbidden),
        (problem(507, "storage_failed", "full"), StorageFailed),
    ],
    ids=["rate", "budget", "forbidden", "disk"],
)
def test_what_a_single_row_cannot_change_ends_the_batch(reply: Reply, kind: type[Exception], home: Path) -> None:
    with serve(script(reply)) as server:
        announce(home, server.url)
        with pytest.raises(kind):
            Sending(home).send(rows=1)


def test_a_server_that_comes_back_elsewhere_is_found(home: Path) -> None:
    with serve(script(GOOD)) as second:
        looks = 0

        def moves() -> bool:
            nonlocal looks
            looks += 1
            if looks == 4:
                announce(home, second.url)
            return False

        announce(home, "http://127.0.0.1:9")
        assert isinstance(Sending(home, moves).send(), Answered)
    assert looks >= 4


def test_the_homes_key_is_not_sent_to_what_took_over_the_port_of_a_server_that_is_dead(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_server, "AWAY_S", 0.5)
    with serve(script(GOOD)) as other:
        announce(home, other.url, pid=(1 << 22) + 1)
        sending = Sending(home)
        with pytest.raises(Stopped):
            sending.send()
    assert other.sent == [] and any("server is away" in why for why in sending.waits)


def test_a_request_that_ends_its_server_again_and_again_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_sending, "MAX_BROKEN", 2)
    with serve(script(Reply(200, b"{", breaks=True))) as server:
        announce(home, server.url)
        with pytest.raises(ConnectionFailed):
            Sending(home).send()
    assert len([sent for sent in server.sent if sent.method == "POST"]) == 3


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(home_server, "LOOK_S", 0.02)
    yield

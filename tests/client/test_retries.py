"""The SDK against a server that refuses, breaks off and dawdles: what is sent again, what is not, and what the errors tell."""

from __future__ import annotations

import socket
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from misbehaving_server import Asked, Misbehaving, Step, answered, misbehaving, refused

from modeltap import Client
from modeltap.client import ApiError, ConnectionFailed
from modeltap.errors import BudgetSpent, Conflict, InvalidValue, NotFound, RateLimited, Unavailable

PREDICTED = answered(
    {"predictions": [{"label": "yes"}], "model": "income@3", "id": "req-1"},
    x_request_id="req-1",
    modeltap_model="income@3",
    modeltap_cost="0.25",
    x_ratelimit_limit_requests="60",
    x_ratelimit_remaining_requests="59",
    x_ratelimit_reset_requests="1s",
)
JOB = answered({"id": "job-1", "kind": "train", "state": "queued"})
ANSWERS = {
    "/predict/income": PREDICTED,
    "/api/jobs": JOB,
    "/api/jobs/job-1": JOB,
    "/api/models": answered({"models": []}),
}
BUSY = refused(503, "server_is_overloaded", "the queue is full", retry_after_ms="1")


def client_of(server: Misbehaving, **options: float) -> Client:
    return Client(server.url, "mt-k", **options)


def keys(tries: list[Asked]) -> list[str | None]:
    return [asked.headers.get("idempotency-key") for asked in tries]


@pytest.mark.parametrize(
    "first",
    [
        BUSY,
        refused(429, "rate_limit_exceeded", "60 requests", retry_after_ms="1"),
        refused(409, "conflict", "is being answered", retry_after_ms="1"),
        refused(500, "internal", "the server failed", retry_after_ms="1"),
        Step(502, b"<html>", {"content-type": "text/html", "retry-after-ms": "1"}),
        Step(cut="before"),
        Step(body=b'{"predic', cut="middle"),
    ],
    ids=["503", "429", "409", "500", "502", "no answer", "half an answer"],
)
def test_a_prediction_is_asked_again_under_one_key(first):
    with misbehaving(first, answers=ANSWERS) as server, client_of(server) as client:
        answers = client.predict("income", [{"age": 1}])
    assert answers[0] == {"label": "yes"}
    tries = server.asked
    assert len(tries) == 2 and tries[0].body == tries[1].body
    assert keys(tries)[0] is not None and len(set(keys(tries))) == 1


def test_each_prediction_has_a_key_of_its_own_or_the_callers():
    with misbehaving(answers=ANSWERS) as server, client_of(server) as client:
        client.predict("income", [1])
        client.predict("income", csv="age\n1\n")
        client.predict("income", [1], idempotency_key="order-7")
    assert len(set(keys(server.asked))) == 3 and keys(server.asked)[2] == "order-7"


def test_an_answer_tells_its_version_cost_request_and_what_is_left():
    with misbehaving(answers=ANSWERS) as server, client_of(server) as client:
        answers = client.predict("income", [{"age": 1}])
    assert (answers.model, answers.cost, answers.request_id) == ("income@3", Decimal("0.25"), "req-1")
    assert answers.receipt.requests is not None and answers.receipt.requests.remaining == 59
    assert answers.receipt.units is None and not answers.receipt.is_replayed


@pytest.mark.parametrize(("max_retries", "num_tries"), [(0, 1), (2, 3), (4, 5)])
def test_after_so_many_tries_the_refusal_is_raised(max_retries, num_tries):
    with misbehaving(*[BUSY] * 9) as server, client_of(server, max_retries=max_retries) as client:
        with pytest.raises(Unavailable, match="queue is full") as caught:
            client.predict("income", [1])
        assert caught.value.retry_after_s == 0.001
    assert len(server.asked) == num_tries


def test_without_retries_there_is_no_key_unless_the_caller_gives_one():
    with misbehaving(answers=ANSWERS) as server, client_of(server, max_retries=0) as client:
        client.predict("income", [1])
        client.predict("income", [1], idempotency_key="order-7")
    assert keys(server.asked) == [None, "order-7"]


def test_a_limit_tells_which_one_it_is_and_when_the_request_fits():
    body = {"code": "rate_limit_exceeded", "detail": "60 a minute", "limit": "rpm", "retry_after_s": 150.5}
    step = Step(429, msgspec.json.encode(body), {"x-should-retry": "false", "x-request-id": "req-9"})
    with misbehaving(step) as server, client_of(server) as client, pytest.raises(RateLimited) as caught:
        client.predict("income", [1])
    assert (caught.value.limit, caught.value.retry_after_s, caught.value.request_id) == ("rpm", 150.5, "req-9")
    assert len(server.asked) == 1


def test_a_spent_budget_is_told_at_once():
    step = refused(429, "insufficient_quota", "the budget is spent", x_should_retry="false")
    with misbehaving(step) as server, client_of(server) as client, pytest.raises(BudgetSpent, match="spent") as caught:
        client.predict("income", [1])
    assert caught.value.retry_after_s is None and len(server.asked) == 1


def test_a_wait_of_more_than_two_minutes_is_left_to_the_caller():
    step = refused(503, "model_loading", "still loading", retry_after="121")
    with misbehaving(step) as server, client_of(server) as client, pytest.raises(Unavailable) as caught:
        client.predict("income", [1])
    assert caught.value.retry_after_s == 121.0 and len(server.asked) == 1


def test_a_wait_that_leads_beyond_the_time_limit_is_not_begun():
    step = refused(503, "model_loading", "still loading", retry_after="100")
    with (
        misbehaving(step) as server,
        client_of(server, timeout_s=50.0) as client,
        pytest.raises(Unavailable, match="still loading"),
    ):
        client.predict("income", [1])
    assert len(server.asked) == 1


def test_an_answer_that_never_ends_is_given_up():
    """Each byte comes in time, and the whole never would."""
    with (
        misbehaving(Step(body=b"{", cut="never ends")) as server,
        client_of(server, timeout_s=0.3) as client,
        pytest.raises(ConnectionFailed, match="in time"),
    ):
        client.predict("income", [1])


@pytest.mark.parametrize(
    "first",
    [
        Step(cut="before"),
        Step(cut="middle"),
        refused(500, "internal", "why", retry_after_ms="1"),
        refused(409, "conflict", "why"),
    ],
    ids=["no answer", "half an answer", "500", "409"],
)
def test_a_job_is_not_started_twice(first):
    """Whether the first try started it nobody can tell."""
    with misbehaving(first, answers=ANSWERS) as server, client_of(server) as client:
        with pytest.raises((ConnectionFailed, Conflict, ApiError)):
            client.train("adult", task="tabular-classification", wait=False)
        assert len(server.asked) == 1
        assert client.train("adult", task="tabular-classification", wait=False).id == "job-1"


def test_a_job_that_was_refused_for_now_is_started_later():
    with misbehaving(BUSY, answers=ANSWERS) as server, client_of(server) as client:
        assert client.train("adult", task="tabular-classification", wait=False).id == "job-1"
    assert len(server.asked) == 2


def test_what_only_reads_is_asked_again_after_any_break():
    with misbehaving(Step(cut="before"), Step(cut="middle"), answers=ANSWERS) as server, client_of(server) as client:
        assert client.models.list() == []
    assert [asked.method for asked in server.asked] == ["GET"] * 3


def test_an_upload_is_sent_once(tmp_path):
    data = tmp_path / "adult.csv"
    data.write_text("age\n1\n")
    with misbehaving(BUSY) as server, client_of(server) as client, pytest.raises(Unavailable):
        client.datasets.add(data, name="adult")
    assert len(server.asked) == 1 and b"age" in server.asked[0].body


def test_an_error_without_a_class_has_its_request_id_too():
    step = Step(404, b'{"detail": "nothing", "code": "not_found"}', {"x-request-id": "req-4"})
    page = Step(418, b"<html>", {"x-request-id": "req-5"})
    with misbehaving(step, page) as server, client_of(server) as client:
        with pytest.raises(NotFound) as missing:
            client.predict("income", [1])
        with pytest.raises(ApiError, match="418 Scripted") as strange:
            client.predict("income", [1])
    assert (missing.value.request_id, strange.value.request_id) == ("req-4", "req-5")


def test_a_server_that_comes_back_elsewhere_is_found_again(tmp_path: Path):
    """The home's server is started anew on another port between two tries."""
    record = tmp_path / "server.json"
    with socket.socket() as gone, misbehaving(answers=ANSWERS) as server:
        gone.bind(("127.0.0.1", 0))
        record.write_bytes(msgspec.json.encode({"url": f"http://127.0.0.1:{gone.getsockname()[1]}", "pid": 1}))
        with Client(home=tmp_path) as client:
            record.write_bytes(msgspec.json.encode({"url": server.url, "pid": 1}))
            assert client.models.list() == []
            assert client.url == server.url


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"timeout_s": float("nan")}, {"max_retries": -1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(InvalidValue, match=next(iter(options))):
        Client("http://127.0.0.1:1", **options)

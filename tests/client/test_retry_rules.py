"""When a request is sent again, as a rule over status, headers and tries; and what the headers of an answer tell."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.client.receipt import Allowance, Receipt, parse_span, read_receipt
from modeltap.client.retrying import LONGEST_PAUSE_S, MAX_WAIT_S, pause_s, plan_retry

NOON_S = 1_792_065_600.0
"""Thu, 15 Oct 2026 12:00:00 GMT."""


def plan(status: int, *, repeatable: bool = True, num_tries: int = 1, chance: float = 1.0, **headers: str) -> float | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return plan_retry(num_tries, status=status, headers=named, repeatable=repeatable, now_s=NOON_S, chance=chance)


@pytest.mark.parametrize(
    ("status", "when_repeatable", "otherwise"),
    [
        (400, False, False),
        (401, False, False),
        (404, False, False),
        (408, True, True),
        (409, True, False),
        (413, False, False),
        (422, False, False),
        (429, True, True),
        (500, True, False),
        (502, True, False),
        (503, True, True),
        (504, True, False),
    ],
)
def test_what_may_have_been_done_is_asked_again_only_where_it_is_done_once(status, when_repeatable, otherwise):
    assert (plan(status) is not None) is when_repeatable
    assert (plan(status, repeatable=False) is not None) is otherwise


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry_after_ms": "250", "retry_after": "1"}, 0.25),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "Thu, 15 Oct 2026 12:00:30 GMT"}, 30.0),
        ({"retry_after": "Thu, 15 Oct 2026 12:00:30 -0000"}, 30.0),
        ({"retry_after": "120"}, 120.0),
        ({"retry_after": "121"}, None),
        ({"retry_after_ms": "120001"}, None),
        ({"retry_after": "Thu, 15 Oct 2026 13:00:00 GMT"}, None),
        ({"retry_after": "inf"}, None),
    ],
)
def test_the_server_says_how_long_to_wait_and_more_than_two_minutes_is_not_waited(headers, wait_s):
    assert plan(503, **headers) == wait_s


@pytest.mark.parametrize(
    "said", ["", "soon", "nan", "0", "-3", "Thu, 15 Oct 2026 11:00:00 GMT", "Thu, 99 Oct 2026 11:00:00 GMT"]
)
def test_what_names_no_time_to_come_leaves_the_usual_pause(said):
    assert plan(503, retry_after=said, retry_after_ms=said) == pause_s(1, chance=1.0)


def test_the_servers_word_whether_to_try_again_is_the_last():
    assert plan(429, x_should_retry="false", retry_after="1") is None
    assert plan(418, x_should_retry="true", retry_after="1") == 1.0
    assert plan(429, x_should_retry="true", retry_after="500") is None


@given(num_tries=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_pauses_grow_stay_bounded_and_are_spread(num_tries, chance):
    pause = pause_s(num_tries, chance=chance)
    assert pause_s(num_tries, chance=0.0) <= pause <= pause_s(num_tries, chance=1.0) <= LONGEST_PAUSE_S <= MAX_WAIT_S
    assert pause <= pause_s(num_tries + 1, chance=chance)


def test_a_receipt_reads_what_the_headers_tell():
    headers = {
        "x-request-id": "req-1",
        "modeltap-model": "income@3",
        "modeltap-cost": "0.000000125",
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "12ms",
    }
    assert read_receipt(headers) == Receipt(
        request_id="req-1",
        model="income@3",
        cost=Decimal("0.000000125"),
        requests=Allowance(60, 59, 60.0),
        units=Allowance(1000, 0, 0.012),
    )


def test_a_receipt_leaves_out_what_it_cannot_read():
    headers = {
        "modeltap-cost": "a lot",
        "x-ratelimit-limit-requests": "many",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1s",
        "idempotent-replayed": "true",
    }
    assert read_receipt(headers) == Receipt(is_replayed=True)
    assert read_receipt({"modeltap-cost": "NaN"}).cost is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("12ms", 0.012), ("1s", 1.0), ("6m0s", 360.0), ("1h2m3s", 3723.0), ("1.5s", 1.5)]
)
def test_spans_are_read_as_openais_clients_read_them(text, seconds):
    assert parse_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1d", "1s ", "-1s"])
def test_what_is_no_span_is_none(text):
    assert parse_span(text) is None

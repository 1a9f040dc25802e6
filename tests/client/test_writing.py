"""Texts that come piece by piece: how they end, and by which name it is known when they do not end well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from scripted_server import Reply, Scripted, Sent, json_reply, serve

from modeltap.client import ApiError, Client, ConnectionFailed
from modeltap.errors import (
    BudgetSpent,
    ContextTooLong,
    Forbidden,
    InvalidInput,
    InvalidValue,
    ModelNotFound,
    ReplicaLost,
    Unauthenticated,
    Unavailable,
)

WORD = {"choices": [{"index": 0, "text": "one ", "finish_reason": None}], "usage": None}
END = {"choices": [{"index": 0, "text": "two", "finish_reason": "stop"}], "usage": None}
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}


def stream(*events: Any) -> Reply:
    """Values are sent as JSON, texts as they are."""
    lines = [one if isinstance(one, str) else msgspec.json.encode(one).decode() for one in events]
    return Reply(200, "".join(f"data: {line}\n\n" for line in lines).encode(), "text/event-stream")


def refusal(status: int, code: str | None, kind: str = "invalid_request_error", param: str | None = None) -> Reply:
    return json_reply({"error": {"message": "it is so", "type": kind, "param": param, "code": code}}, status)


@contextmanager
def client_of(*replies: Reply) -> Iterator[tuple[Client, Scripted]]:
    """Of a server that gives these answers in turn."""
    left = list(replies)

    def answer(sent: Sent) -> Reply:
        return left.pop(0)

    with serve(answer) as server, Client(server.url, "k") as client:
        yield client, server


def test_a_text_comes_in_pieces_and_ends_with_its_usage() -> None:
    with client_of(stream(WORD, END, USAGE, "[DONE]")) as (client, server):
        written = client.complete("tales", "Count", max_tokens=9, options={"seed": 1})
        assert list(written) == ["one ", "two"]
        assert (written.text, written.finish_reason, written.usage) == ("one two", "stop", USAGE["usage"])
        sent = msgspec.json.decode(server.sent[0].body)
    assert sent == {
        "model": "tales",
        "prompt": "Count",
        "max_tokens": 9,
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, None, InvalidInput),
        (400, "invalid_value", InvalidValue),
        (400, "context_length_exceeded", ContextTooLong),
        (401, "invalid_api_key", Unauthenticated),
        (403, None, Forbidden),
        (404, "model_not_found", ModelNotFound),
        (429, "insufficient_quota", BudgetSpent),
        (500, None, ApiError),
    ],
)
def test_a_refusal_in_openais_words_has_modeltaps_name(status: int, code: str | None, kind: type[Exception]) -> None:
    with client_of(refusal(status, code, param="prompt")) as (client, _), pytest.raises(kind, match="it is so") as refused:
        client.complete("tales", "Count")
    assert type(refused.value) is kind
    assert refused.value.fields == (("prompt", "it is so"),)  # type: ignore[attr-defined]


def test_what_is_not_available_yet_is_asked_again() -> None:
    loading = refusal(503, "model_loading", "service_unavailable_error")
    with client_of(loading, stream(WORD, "[DONE]")) as (client, server):
        assert client.complete("tales", "Count").read() == "one "
        assert len(server.sent) == 2
    with client_of(*[loading] * 3) as (client, _), pytest.raises(Unavailable):
        client.complete("tales", "Count")


def test_a_text_that_ends_in_an_error_keeps_what_came() -> None:
    lost = {"error": {"message": "the engine died", "type": "service_unavailable_error", "param": None, "code": "replica_lost"}}
    for last, kind in ((lost, ReplicaLost), ("{", ApiError), ({"choices": 3}, ApiError)):
        with client_of(stream(WORD, last)) as (client, _):
            written = client.complete("tales", "Count")
            with pytest.raises(kind):
                written.read()
            assert written.text == "one "
    with client_of(stream(WORD, END)) as (client, _), pytest.raises(ConnectionFailed, match="before it was whole"):
        client.complete("tales", "Count").read()


def test_a_chat_sends_the_system_first_and_wants_messages() -> None:
    said = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    with client_of(stream(said, "[DONE]"), stream(said, "[DONE]")) as (client, server):
        assert client.chat("tales", "Hello", system="Be brief.", temperature=0).read() == "Hi"
        assert client.chat("tales", [{"role": "user", "content": "Hello"}]).read() == "Hi"
        with pytest.raises(InvalidValue, match="no messages"):
            client.chat("tales", [])
        first, second = (msgspec.json.decode(one.body)["messages"] for one in server.sent)
    assert [message["role"] for message in first] == ["system", "user"] and second == first[1:]

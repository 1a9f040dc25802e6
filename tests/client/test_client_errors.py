"""Refusals and broken connections become named errors that say what to do."""

from __future__ import annotations

import socket

import pytest
from scripted_server import Reply, problem, serve

from modeltap import Client
from modeltap.client import ApiError, ConnectionFailed
from modeltap.client.errors import BY_CODE, error_from
from modeltap.errors import InvalidRecipe, MissingExtra, ModeltapError, NotFound, TooLarge, Unauthenticated


def test_a_refusal_is_raised_as_the_class_of_its_code_with_its_fields() -> None:
    fields = [{"field": "optimizer.lr", "detail": "must be positive"}]
    with (
        serve(lambda sent: problem(422, "invalid_recipe", "lr must be positive", errors=fields)) as server,
        Client(server.url) as client,
        pytest.raises(InvalidRecipe, match="lr must be positive") as caught,
    ):
        client.train("adult", task="tabular-classification")
    assert caught.value.fields == (("optimizer.lr", "must be positive"),)


@pytest.mark.parametrize(
    ("code", "kind"), [("not_found", NotFound), ("unauthenticated", Unauthenticated), ("too_large", TooLarge)]
)
def test_every_code_leads_back_to_its_class(code: str, kind: type[ModeltapError]) -> None:
    assert type(error_from({"code": code, "detail": "why"})) is kind
    assert str(error_from({"code": code, "detail": "why"})) == "why"


def test_all_named_errors_have_a_code_of_their_own() -> None:
    assert BY_CODE["missing_extra"] is MissingExtra
    assert len(BY_CODE) == len(set(BY_CODE.values()))


def test_an_unknown_code_keeps_status_code_and_detail() -> None:
    with (
        serve(lambda sent: problem(418, "teapot", "short and stout")) as server,
        Client(server.url) as client,
        pytest.raises(ApiError, match="short and stout") as caught,
    ):
        client.server()
    assert caught.value.status == 418
    assert caught.value.facts()["code"] == "teapot"


def test_a_page_of_something_else_is_not_taken_for_an_answer() -> None:
    with (
        serve(lambda sent: Reply(200, b"<html>hello</html>", "text/html")) as server,
        Client(server.url) as client,
        pytest.raises(ApiError, match="is that the URL of a modeltap server"),
    ):
        client.models.list()


def test_nobody_there_says_how_to_start_a_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(ConnectionFailed, match="modeltap up"):
        client.server()


def test_an_answer_that_breaks_off_is_a_connection_failure() -> None:
    with (
        serve(lambda sent: Reply(200, b'{"models": [', breaks=True)) as server,
        Client(server.url) as client,
        pytest.raises(ConnectionFailed, match="broke"),
    ):
        client.models.list()


def test_what_is_no_url_is_refused_at_once() -> None:
    with pytest.raises(ModeltapError, match="http://127"):
        Client("localhost:8000")

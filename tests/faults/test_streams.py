"""Streams of a language model that are cut, read slowly, overtaken by a deploy or lose their engine: the books stay exact."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import Any

import httpx
import psutil
import pytest
from door_world import connect, number_of, request
from fault_server import WAIT_S, FaultServer, until
from speaking_server import TOKEN_PRICE, add_to_home, records, speaking
from talking import without_template

from modeltap.importing.onnx import Imported

CUTS = 100
AT_ONCE = 16
LONG = 240
PROMPT_TOKENS = 3
NUM_TEXTS = int(os.environ.get("MODELTAP_TEST_TEXTS", "200"))
NUM_WARM = 100
GROWN_BYTES = 24 << 20
"""What allocators keep varies by some megabytes, however many texts there were."""
ASKED: dict[str, Any] = {"model": "tiny", "prompt": "Once upon", "max_tokens": LONG, "temperature": 0, "stream": True}


@pytest.fixture(scope="module")
def server(tiny: Imported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with speaking(tmp_path_factory.mktemp("spoken") / "home", tiny) as started:
        yield started
        assert "Traceback" not in started.log(), started.log()[-5000:]


def quiet(server: FaultServer) -> None:
    """Waits until no text is being written and no request is in flight."""
    until("no text is written", lambda: number_of(server, "modeltap_open_texts") == 0)
    until("nothing is in flight", lambda: number_of(server, "modeltap_in_flight_requests") == 1)


def lines_of(answer: httpx.Response) -> Iterator[Any]:
    """The data of its events, the last one perhaps `[DONE]`."""
    for line in answer.iter_lines():
        if line:
            data = line.removeprefix("data: ")
            yield data if data == "[DONE]" else json.loads(data)


def ended(server: FaultServer, request_ids: list[str]) -> dict[str, dict[str, str]]:
    """The record of each of these requests, once all are in the books."""
    wanted = set(request_ids)

    def look() -> dict[str, dict[str, str]] | None:
        found = {record["request_id"]: record for record in records(server) if record["request_id"] in wanted}
        return found if len(found) == len(wanted) else None

    return until("the books have every request", look)


def test_a_stream_that_is_cut_is_charged_what_was_handed_on(server: FaultServer) -> None:
    chance = random.Random(5)
    cuts = [(f"cut-{number}", chance.randrange(0, 2 * LONG)) for number in range(CUTS)]

    def cut(case: tuple[str, int]) -> tuple[str, int, bool]:
        """How many tokens came before the connection was closed, and whether that was all of them."""
        request_id, at = case
        num_tokens, is_whole = 0, False
        headers = {**server.client.headers, "x-request-id": request_id}
        with httpx.stream(
            "POST", f"{server.client.base_url}/v1/completions", json={**ASKED, "logprobs": 0}, headers=headers, timeout=WAIT_S
        ) as answer:
            for place, event in enumerate(lines_of(answer)):
                if place >= at:
                    break
                if event == "[DONE]":
                    is_whole = True
                elif event["choices"][0]["logprobs"] is not None:
                    num_tokens += len(event["choices"][0]["logprobs"]["tokens"])
        return request_id, num_tokens, is_whole

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(cut, cuts))
    quiet(server)
    books = ended(server, [request_id for request_id, _ in cuts])
    assert {is_whole for _, _, is_whole in found} == {True, False}
    for request_id, num_tokens, is_whole in found:
        record = books[request_id]
        units = int(record["units"])
        if record["status"] == "cancelled":
            assert units == 0 and num_tokens == 0
            continue
        assert record["status"] == "answered"
        assert PROMPT_TOKENS + num_tokens <= units <= PROMPT_TOKENS + LONG
        if is_whole:
            assert units in (PROMPT_TOKENS + num_tokens, PROMPT_TOKENS + num_tokens + 1)  # and the token that ends it
        assert Decimal(record["cost"]) == TOKEN_PRICE * units


def test_a_client_that_leaves_before_an_answer_that_is_whole_pays_nothing(server: FaultServer) -> None:
    asked = json.dumps({**ASKED, "stream": False, "n": 64, "temperature": 1}).encode()
    connection = connect(server)
    connection.sendall(request(server, "/v1/completions", asked, "x-request-id: left", close=False))
    until("it is being written", lambda: number_of(server, "modeltap_open_texts") > 0)
    connection.close()
    quiet(server)
    assert (ended(server, ["left"])["left"]["status"], ended(server, ["left"])["left"]["units"]) == ("cancelled", "0")


def test_a_slow_reader_gets_all_of_it_and_holds_up_nobody(server: FaultServer) -> None:
    asked = {**ASKED, "n": 48, "stream_options": {"include_usage": True}}
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(request(server, "/v1/completions", json.dumps(asked).encode()))
        until("it is being written", lambda: number_of(server, "modeltap_open_texts") > 0)
        assert server.ask("POST", "/v1/completions", json={**ASKED, "stream": False, "max_tokens": 5})["choices"]
        until("all is written", lambda: number_of(server, "modeltap_open_texts") == 0)
        received = bytearray()
        while data := connection.recv(1 << 16):
            received += data
    assert received.count(b"[DONE]") == 1
    assert received.count(b'"finish_reason":"') == 48


def engine_of(server: FaultServer) -> psutil.Process | None:
    """The process that writes texts, if one lives."""
    assert server.process is not None
    for child in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if "modeltap.engines.tokens_child" in child.cmdline():
                return child
    return None


def test_memory_of_engine_and_server_stays_what_it_is(server: FaultServer) -> None:
    """MODELTAP_TEST_TEXTS says after how many texts that come to their end; a fourth of that is cut."""
    assert server.process is not None
    processes = [psutil.Process(server.process.pid), until("an engine writes", lambda: engine_of(server))]

    def write(number: int) -> None:
        asked = {**ASKED, "max_tokens": 24, "temperature": 1, "prompt": f"{number} times upon"}
        with server.client.stream("POST", "/v1/completions", json=asked) as answer:
            for place, _ in enumerate(lines_of(answer)):
                if number % 5 == 0 and place == number % 7:
                    break

    def after(count: int) -> list[int]:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(count)))
        quiet(server)
        return [process.memory_info().rss for process in processes]

    before = after(NUM_WARM)
    grown = [now - then for now, then in zip(after(NUM_TEXTS * 5 // 4), before, strict=True)]
    assert max(grown) < GROWN_BYTES, f"server and engine grew by {grown} bytes over {NUM_TEXTS * 5 // 4:,} texts"


def test_an_engine_that_is_killed_costs_its_streams_a_named_error_and_nobody_money(server: FaultServer) -> None:
    whole = server.ask("POST", "/v1/completions", json={**ASKED, "stream": False})["choices"][0]["text"]

    def stream(request_id: str) -> tuple[str, str, str | None]:
        headers = {**server.client.headers, "x-request-id": request_id}
        text, code = "", None
        with httpx.stream(
            "POST", f"{server.client.base_url}/v1/completions", json=ASKED, headers=headers, timeout=WAIT_S
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                return request_id, "", answer.json()["error"]["code"]
            for event in lines_of(answer):
                if event == "[DONE]":
                    break
                if "error" in event:
                    code = event["error"]["code"]
                else:
                    text += event["choices"][0]["text"]
        return request_id, text, code

    ids = [f"killed-{number}" for number in range(3 * AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(stream, request_id) for request_id in ids]
        for _ in range(2):
            until("texts are written", lambda: number_of(server, "modeltap_open_texts") > 0)
            until("an engine writes them", lambda: engine_of(server)).kill()
        found = [one.result() for one in running]
    quiet(server)
    begun = [request_id for request_id, text, code in found if code is None or text]
    ended(server, begun)
    books = {record["request_id"]: record for record in records(server)}
    for request_id, text, code in found:
        if code is None:
            assert text == whole
            assert books[request_id]["status"] == "answered"
            continue
        assert code == "replica_lost"
        assert whole.startswith(text)
        record = books.get(request_id)  # of one that was refused while no engine could be started there is none
        assert record is None or (record["status"], record["code"], record["units"]) == ("failed", "replica_lost", "0")
    until("an engine is there again", lambda: number_of(server, "modeltap_replicas", state="ready") == 1)
    assert server.ask("POST", "/v1/completions", json={**ASKED, "stream": False})["choices"][0]["text"] == whole


def test_limits_count_tokens_and_what_was_not_written_comes_back(server: FaultServer) -> None:
    key = server.ask("POST", "/api/keys", json={"limits": {"upm": 200}})
    headers = {"authorization": f"Bearer {key['key']}"}
    client = httpx.Client(base_url=server.client.base_url, headers=headers, timeout=WAIT_S)
    with client:
        refused = client.post("/v1/completions", json={**ASKED, "stream": False})
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        asked = {**ASKED, "stream": False, "max_tokens": 100}
        text = client.post("/v1/completions", json={**asked, "max_tokens": 4}).json()["choices"][0]["text"]
        answered = client.post("/v1/completions", json={**asked, "stop": text[1:4]})
        used = answered.json()["usage"]["total_tokens"]
        assert used < 50
        before = PROMPT_TOKENS + 4
        assert int(answered.headers["x-ratelimit-remaining-tokens"]) == 200 - before - used
        assert Decimal(answered.headers["modeltap-cost"]) == TOKEN_PRICE * used


def test_who_may_ask_which_model(server: FaultServer) -> None:
    server.ask("POST", "/api/deployments", json={"name": "open", "model": "tiny@1", "terms": {"public": True}})
    asked = {"prompt": "Once upon", "max_tokens": 2}
    with httpx.Client(base_url=server.client.base_url, timeout=WAIT_S) as stranger:
        assert stranger.post("/v1/completions", json={**asked, "model": "open"}).status_code == 200
        assert stranger.post("/v1/completions", json={**asked, "model": "tiny"}).status_code == 401
        assert stranger.get("/v1/models").status_code == 401
    key = server.ask("POST", "/api/keys", json={"models": ["open"]})
    with httpx.Client(base_url=server.client.base_url, headers={"x-api-key": key["key"]}, timeout=WAIT_S) as client:
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["open"]
        assert client.post("/v1/completions", json={**asked, "model": "open"}).status_code == 200
        refused = client.post("/v1/completions", json={**asked, "model": "tiny"})
        error = refused.json()["error"]
        assert (refused.status_code, error["type"], error["code"]) == (403, "permission_error", "model_not_allowed")
    server.ask("DELETE", "/api/deployments/open")


def test_an_answer_is_repeated_for_its_key_and_a_stream_is_not(server: FaultServer) -> None:
    key = server.ask("POST", "/api/keys", json={})
    headers = {"authorization": f"Bearer {key['key']}", "idempotency-key": "once"}
    asked = {**ASKED, "stream": False, "temperature": 1, "max_tokens": 20}
    with httpx.Client(base_url=server.client.base_url, headers=headers, timeout=WAIT_S) as client:
        first, second = (client.post("/v1/completions", json=asked) for _ in range(2))
        assert second.json() == first.json()
        assert second.headers["idempotent-replayed"] == "true"
        refused = client.post("/v1/completions", json={**asked, "stream": True}, headers={"idempotency-key": "twice"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")
    assert len([one for one in records(server) if one["key"] == key["id"] and one["status"] == "answered"]) == 1


def test_a_stream_goes_on_while_its_version_is_replaced(server: FaultServer, tiny: Imported) -> None:
    second = add_to_home(server.home, "tiny", without_template(tiny))
    begun = threading.Event()

    def stream() -> tuple[str | None, int]:
        with httpx.stream(
            "POST",
            f"{server.client.base_url}/v1/completions",
            json={**ASKED, "n": 64},
            headers=dict(server.client.headers),
            timeout=WAIT_S,
        ) as answer:
            begun.set()
            return answer.headers["modeltap-model"], [event == "[DONE]" for event in lines_of(answer)].count(True)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stream)
        begun.wait(WAIT_S)
        server.ask("POST", "/api/deployments", json={"name": "tiny", "model": second})
        assert running.result() == ("tiny@1", 1)
    answer = server.client.post("/v1/completions", json={**ASKED, "stream": False})
    assert answer.headers["modeltap-model"] == second

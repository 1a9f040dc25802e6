"""A language model under two workers, unloaded when nobody calls for it and loaded again when somebody does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
from fault_server import WAIT_S, FaultServer, until
from speaking_server import speaking, wait_records

from modeltap.importing.onnx import Imported

ASKED: dict[str, Any] = {"model": "tiny", "prompt": "Once upon", "max_tokens": 12, "temperature": 0}
CALLS, ALLOWED = 24, 10


@pytest.fixture(scope="module")
def server(tiny: Imported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    folder = tmp_path_factory.mktemp("life")
    with speaking(folder / "home", tiny, MODELTAP_WORKERS="2", MODELTAP_UNLOAD_AFTER_S="3") as started:
        yield started
        assert "Traceback" not in started.log(), started.log()[-5000:]


def ask(server: FaultServer, **more: Any) -> httpx.Response:
    """On a connection of its own, which either worker may get."""
    headers = {**server.client.headers, **more.pop("headers", {})}
    url = f"{server.client.base_url}/v1/completions"
    return httpx.post(url, json={**ASKED, **more}, headers=headers, timeout=WAIT_S)


def engines(server: FaultServer) -> list[int]:
    """Of the processes that write texts, by worker: how many it has."""
    return [sum(map(_writes, psutil.Process(pid).children())) for pid in server.worker_pids()]


def _writes(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "modeltap.engines.tokens_child" in process.cmdline()
    return False


def awake(server: FaultServer) -> None:
    def look() -> bool:
        ask(server)
        return bool(engines(server) == [1, 1])

    until("both workers have an engine", look)


def test_two_workers_say_the_same_and_share_one_limit(server: FaultServer) -> None:
    awake(server)
    key = server.ask("POST", "/api/keys", json={"limits": {"rpm": ALLOWED}})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(server, headers={"x-api-key": key["key"]}), range(CALLS)))
        streams = list(pool.map(lambda _: ask(server, stream=True), range(8)))
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(good) == ALLOWED and {answer.status_code for answer in answers} == {200, 429}
    assert len({answer["choices"][0]["text"] for answer in good}) == 1
    assert all(stream.text.endswith("data: [DONE]\n\n") for stream in streams)
    told = sum(answer["usage"]["total_tokens"] for answer in good)

    def booked() -> bool:
        sums = server.ask("GET", "/api/usage", params={"by": "key", "key": key["id"]})["sums"]
        return sum(one["units"] for one in sums) == told

    until("the books have what the answers told", booked)
    assert wait_records(server, ALLOWED + len(streams))


def test_a_model_that_nobody_calls_is_unloaded_and_comes_back_on_demand(server: FaultServer) -> None:
    awake(server)
    whole = until("it answers", lambda: ask(server) if ask(server).status_code == 200 else None).json()["choices"][0]["text"]
    until("no engine is left", lambda: engines(server) == [0, 0])
    first = ask(server)
    assert first.status_code == 503 and first.json()["error"]["code"] == "model_loading"
    assert 0 < float(first.headers["retry-after"]) <= 120 and int(first.headers["retry-after-ms"]) > 0
    again = until("it answers again", lambda: answer if (answer := ask(server)).status_code == 200 else None)
    assert again.json()["choices"][0]["text"] == whole

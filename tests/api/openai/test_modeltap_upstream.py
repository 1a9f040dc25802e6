"""modeltap behind modeltap: the same answers as asked there itself, and the same sums in both books."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from fault_server import FaultServer, until
from talking import add_version
from workshop import Workshop

PROMPT = "The quick brown fox"
ASK = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 12, "temperature": 0}


@pytest.fixture(scope="module")
def there(tiny, tmp_path_factory):
    """The server with the model."""
    folder = tmp_path_factory.mktemp("there") / "home"
    workshop = Workshop(folder)
    add_version(workshop, "tiny", tiny)
    workshop.close()
    server = FaultServer(folder).start()
    server.ask("POST", "/api/deployments", json={"name": "tiny", "model": "tiny@1"})
    until("the model is loaded", lambda: server.ask("GET", "/api/deployments/tiny")["status"] == "ready")
    yield server
    server.close()


@pytest.fixture(scope="module")
def here(there, tmp_path_factory):
    """The server whose deployment `far` leads to it."""
    key = there.ask("POST", "/api/keys", json={"label": "far", "scopes": ["predict"]})["key"]
    host, port = there.address
    server = FaultServer(tmp_path_factory.mktemp("here") / "home")
    server.start(MODELTAP_UPSTREAM_HOSTS=f"{host}:{port}", FAR_KEY=key)
    upstream = {"url": f"http://{host}:{port}/v1", "model": "tiny", "key_variable": "FAR_KEY", "context_tokens": 256}
    server.ask("POST", "/api/deployments", json={"name": "far", "upstream": upstream})
    yield server
    server.close()


def sdk(server):
    host, port = server.address
    return openai.OpenAI(
        base_url=f"http://{host}:{port}/v1",
        api_key=server.client.headers["x-api-key"],
        max_retries=0,
        _strict_response_validation=True,
    )


def units(server):
    """Tokens of all answered requests, by the books."""
    sums = server.ask("GET", "/api/usage")["sums"]
    return sum(one["units"] for one in sums if one["unit"] == "token")


def test_it_says_what_is_said_there_whole_and_streamed(there, here):
    own = sdk(there).chat.completions.create(model="tiny", **ASK)
    far = sdk(here).chat.completions.create(model="far", **ASK)
    assert far.choices[0].message.content == own.choices[0].message.content
    assert far.usage == own.usage
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with sdk(here).chat.completions.create(model="far", **ASK, **options) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == own.choices[0].message.content
    assert chunks[-1].usage == own.usage


def test_a_response_says_the_same_here_and_there(there, here):
    asked = {"input": PROMPT, "max_output_tokens": 12, "temperature": 0}
    own, far = sdk(there).responses.create(model="tiny", **asked), sdk(here).responses.create(model="far", **asked)
    assert (far.output_text, far.status, far.usage) == (own.output_text, own.status, own.usage)
    with sdk(here).responses.create(model="far", **asked, stream=True) as stream:
        *_, last = stream
    assert (last.response.output_text, last.response.usage) == (own.output_text, own.usage)


def test_both_books_have_the_same_sum(there, here):
    before = units(there), units(here)
    client = sdk(here)

    def ask(number):
        if number % 2:
            return client.completions.create(
                model="far", prompt=PROMPT, max_tokens=1 + number, temperature=0
            ).usage.total_tokens
        with client.chat.completions.create(
            model="far", **{**ASK, "max_tokens": 1 + number}, stream=True, stream_options={"include_usage": True}
        ) as stream:
            return [chunk.usage for chunk in stream][-1].total_tokens

    with ThreadPoolExecutor(8) as pool:
        told = sum(pool.map(ask, range(24)))
    until("the books here have it", lambda: units(here) - before[1] == told)
    until("the books there have it", lambda: units(there) - before[0] == told)


def test_streams_that_are_cut_off_free_their_place_there_and_leave_clean_books(there, here):
    draw = random.Random(0)

    def cut(after):
        body = {"model": "far", **ASK, "max_tokens": 200, "stream": True}
        with here.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            for _ in range(after):
                next(lines, None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cut, [draw.randrange(40) for _ in range(40)]))
    assert sdk(here).chat.completions.create(model="far", **ASK).usage.completion_tokens > 0
    for server in (here, there):
        found = server.ask("GET", "/api/audit")
        assert found["clean"], found["findings"]


def test_one_that_is_gone_is_named_whole_and_streamed(there, here):
    there.kill()
    for more in ({}, {"stream": True}):
        with pytest.raises(openai.InternalServerError) as failure:
            sdk(here).chat.completions.create(model="far", **ASK, **more)
        assert failure.value.code == "upstream_failed"

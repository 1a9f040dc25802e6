"""A server elsewhere behind a deployment of a real server: answered, limited, charged and audited like our own."""

from __future__ import annotations

import json
import shlex
import socket
import sys

import openai
import pytest
from fault_server import FaultServer, until
from peers import command, running_peer, seen

ASK = {"messages": [{"role": "user", "content": "hello there you"}], "max_tokens": 6}
PROMPT_WORDS = 3
PRICE = {"price": {"token": "0.5"}}


@pytest.fixture(scope="module")
def peer():
    with running_peer(key="k1") as port:
        yield port


@pytest.fixture(scope="module")
def server(tmp_path_factory, peer):
    home = FaultServer(tmp_path_factory.mktemp("upstreams") / "home")
    home.start(
        MODELTAP_UPSTREAM_HOSTS=f"127.0.0.1:{peer}", MODELTAP_UPSTREAM_PROGRAMS=sys.executable, PEER_TOKEN="k1", PEER_WRONG="no"
    )
    for model in ("good", "silent", "breaks", "endless", "refuses", "busy", "calls", "chatless"):
        attach(home, peer, model)
    yield home
    home.close()


def attach(home, peer, model, *, name=None, **more):
    terms = more.pop("terms", PRICE)
    fields = {"url": f"http://127.0.0.1:{peer}/v1", "model": model, "key_variable": "PEER_TOKEN", **more}
    return home.ask("POST", "/api/deployments", json={"name": name or model, "upstream": fields, "terms": terms})


def sdk(home, key=None, *, is_strict=True):
    given = key or home.client.headers["x-api-key"]
    return openai.OpenAI(
        base_url=f"{str(home.client.base_url).rstrip('/')}/v1",
        api_key=given,
        max_retries=0,
        _strict_response_validation=is_strict,
    )


def record_of(home, request_id):
    """The usage record of the request, once it is in the books."""

    def look():
        lines = home.client.get("/api/usage.csv").text.splitlines()
        names = lines[0].split(",")
        return next((dict(zip(names, line.split(","), strict=True)) for line in lines[1:] if request_id in line), None)

    return until("the record is in the books", look)


def records(home, deployment):
    report = home.ask("GET", "/api/usage", params={"by": "deployment", "deployment": deployment})
    return report["sums"]


def test_a_deployment_tells_what_the_server_there_reads_and_writes(server):
    shown = server.ask("GET", "/api/models/good@1")
    assert shown["manifest"]["engine"]["name"] == "upstream"
    assert shown["manifest"]["language"]["context_tokens"] == 512
    assert server.ask("GET", "/api/deployments/good")["status"] == "ready"


def test_the_same_upstream_again_is_the_same_version_and_no_secret_is_kept(server, peer):
    assert attach(server, peer, "good")["routes"][0]["version"] == 1
    assert attach(server, peer, "good", context_tokens=100, name="good2")["routes"][0]["model"] == "good2"
    for path in server.home.rglob("*"):
        if path.is_file() and "k1" in path.name:
            pytest.fail(str(path))
    assert b"PEER_TOKEN" in b"".join(p.read_bytes() for p in (server.home / "artifacts").rglob("*") if p.is_file())


def test_a_chat_is_answered_as_ours_and_charged_what_the_server_there_says(server):
    answered = sdk(server).chat.completions.with_raw_response.create(model="good", **ASK, user="u", metadata={"a": "b"})
    answer = answered.parse()
    assert answer.choices[0].message.content == "w0 w1 w2 w3 w4 w5"
    assert (answer.model, answer.system_fingerprint) == ("good", "good@1")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 6, 13)
    assert answered.headers["modeltap-cost"] == "0.0065"
    record = record_of(server, answered.headers["x-request-id"])
    assert (record["units"], record["unit"], record["status"], record["code"], record["model"]) == (
        "13", "token", "answered", "", "good@1",
    )  # fmt: skip


def test_roles_and_parts_go_there_as_every_server_takes_them(server, peer):
    before = len(seen(peer)["asked"])
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    told = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}]
    sdk(server).chat.completions.create(model="good", messages=told, max_completion_tokens=2)
    asked = seen(peer)["asked"][before]
    assert [one["role"] for one in asked["messages"]] == ["system", "user"]
    assert all(isinstance(one["content"], str) for one in asked["messages"])
    assert (asked["max_completion_tokens"], "max_tokens" in asked) == (2, False)


def test_the_server_there_gets_the_checked_fields_and_no_others(server, peer):
    before = len(seen(peer)["asked"])
    sdk(server).chat.completions.create(model="good", **ASK, temperature=0.5, user="someone", service_tier="auto", seed=3)
    asked = seen(peer)["asked"][before]
    assert asked == {
        "path": "/v1/chat/completions", "host": f"127.0.0.1:{peer}", "model": "good", **ASK, "temperature": 0.5, "seed": 3,
        "stream": False,
    }  # fmt: skip


@pytest.mark.parametrize("has_usage", [True, False])
def test_a_stream_is_charged_exactly_whether_or_not_usage_is_asked_for(server, has_usage):
    options = {"stream_options": {"include_usage": True}} if has_usage else {}
    with sdk(server).chat.completions.with_raw_response.create(model="good", **ASK, stream=True, **options).parse() as stream:
        chunks = list(stream)
        request_id = stream.response.headers["x-request-id"]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "w0 w1 w2 w3 w4 w5 "
    assert {c.id for c in chunks} == {f"chatcmpl-{request_id}"} and {c.model for c in chunks} == {"good"}
    usages = [c.usage for c in chunks if c.usage]
    assert [u.total_tokens for u in usages] == ([13] if has_usage else [])
    record = record_of(server, request_id)
    assert (record["units"], record["cost"], record["code"], record["delivery"]) == ("13", "0.0065", "", "delivered")


def test_completions_take_texts_ids_and_the_old_path(server):
    client = sdk(server)
    assert client.completions.create(model="good", prompt="a b").choices[0].text.count("w") == 16
    assert client.completions.create(model="good", prompt=[5, 6, 7], max_tokens=2).choices[0].text == "w0 w1"
    old = server.ask("POST", "/v1/engines/good/completions", json={"prompt": "a", "max_tokens": 3})
    assert old["choices"][0]["text"] == "w0 w1 w2" and old["model"] == "good"
    client = sdk(server, is_strict=False)  # its type of a chunk has no null, which OpenAI itself sends
    text = "".join(c.choices[0].text for c in client.completions.create(model="good", prompt="a", max_tokens=3, stream=True))
    assert text == "w0 w1 w2 "


def test_where_nothing_is_said_of_usage_it_is_counted_in_the_callers_favour_and_the_record_says_so(server):
    whole = sdk(server).chat.completions.with_raw_response.create(model="silent", **ASK)
    assert whole.parse().usage.total_tokens == PROMPT_WORDS + 6
    record = record_of(server, whole.headers["x-request-id"])
    assert (record["units"], record["code"]) == (str(PROMPT_WORDS + 6), "usage_estimated")
    options = {"stream_options": {"include_usage": True}}
    with sdk(server).chat.completions.create(model="silent", **ASK, stream=True, **options) as stream:
        *_, last = stream
    assert last.usage.total_tokens == PROMPT_WORDS + 6


def test_a_stream_that_breaks_off_there_ends_in_a_named_error_and_costs_nothing(server):
    lines = []
    with server.client.stream("POST", "/v1/chat/completions", json={"model": "breaks", **ASK, "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line]
        request_id = answer.headers["x-request-id"]
    error = json.loads(lines[-1].removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("upstream_failed", "service_unavailable_error")
    assert "[DONE]" not in "".join(lines)
    record = record_of(server, request_id)
    assert (record["status"], record["code"], record["units"]) == ("failed", "upstream_failed", "0")


def test_a_response_is_asked_for_as_a_chat_and_told_as_a_response(server, peer):
    before = len(seen(peer)["asked"])
    asked = {"instructions": "be brief", "input": "hello there", "max_output_tokens": 3, "temperature": 0}
    answered = sdk(server).responses.with_raw_response.create(model="good", **asked)
    whole = answered.parse()
    assert (whole.output_text, whole.status, whole.incomplete_details.reason) == ("w0 w1 w2", "incomplete", "max_output_tokens")
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.temperature) == (7, 3, 0)
    there = seen(peer)["asked"][before]
    assert (there["path"], there["max_completion_tokens"]) == ("/v1/chat/completions", 3)
    assert [one["role"] for one in there["messages"]] == ["system", "user"]
    assert record_of(server, answered.headers["x-request-id"])["units"] == "10"
    with sdk(server).responses.create(model="good", **asked, stream=True) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "w0 w1 w2 "
    assert (events[0].type, events[-1].type) == ("response.created", "response.incomplete")
    assert events[-1].response.usage == whole.usage


def test_calls_of_functions_come_through_as_those_of_a_response(server):
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
    said = [{"role": "user", "content": "Where does it rain?"}]
    whole = sdk(server).responses.create(model="calls", input=said, tools=[tool])
    calls = [(one.call_id, one.name, json.loads(one.arguments)) for one in whole.output]
    assert calls == [("call_0", "weather", {"city": "Bern"}), ("call_1", "weather", {"city": "Oslo"})]
    with sdk(server).responses.create(model="calls", input=said, tools=[tool], stream=True) as stream:
        *_, last = stream
    text, *streamed = last.response.output
    assert text.content[0].text == "Let me see. "
    assert [(one.call_id, one.name, json.loads(one.arguments)) for one in streamed] == calls
    outputs = [{"type": "function_call_output", "call_id": call_id, "output": "no"} for call_id, _, _ in calls]
    given_back = [one.to_dict() for one in whole.output]
    for one in given_back:
        one.pop("status")
    assert sdk(server).responses.create(model="good", input=[*said, *given_back, *outputs]).output_text


def test_an_engine_without_chats_says_so_for_responses_too(server):
    answer = server.client.post("/v1/responses", json={"model": "chatless", "input": "hello"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "upstream_failed") and "no chat template" in error["message"]
    wrong = server.client.post("/v1/responses", json={"model": "good", "input": "hello", "max_output_tokens": 10**6})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "max_output_tokens")


def test_a_stream_that_passes_the_deadline_is_ended_and_charged_what_was_handed_on(server, peer):
    attach(server, peer, "endless", name="hurried", terms={**PRICE, "deadline_ms": 1000})
    before = seen(peer)["left"]
    asked = {**ASK, "model": "hurried", "max_tokens": 400, "stream": True}
    with server.client.stream("POST", "/v1/chat/completions", json=asked) as answer:
        lines = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
        request_id = answer.headers["x-request-id"]
    *chunks, last = lines
    assert last["error"]["code"] == "deadline_passed" and "1 s" in last["error"]["message"]
    until("the work there ends", lambda: seen(peer)["left"] > before)
    record = record_of(server, request_id)
    assert (record["status"], int(record["units"])) == ("answered", PROMPT_WORDS + len(chunks))


def test_a_client_that_leaves_ends_the_work_there_and_pays_for_what_it_was_sent(server, peer):
    before = seen(peer)["left"]
    with server.client.stream("POST", "/v1/chat/completions", json={"model": "endless", **ASK, "stream": True}) as answer:
        lines = answer.iter_lines()
        got = [next(lines) for _ in range(9)]
        request_id = answer.headers["x-request-id"]
    until("the work there ends", lambda: seen(peer)["left"] > before)
    record = record_of(server, request_id)
    assert int(record["units"]) >= PROMPT_WORDS + sum("content" in line for line in got)
    assert (record["status"], record["code"], record["delivery"]) == ("answered", "usage_estimated", "unknown")


def test_a_client_that_leaves_before_the_answer_pays_nothing_and_the_next_is_served(server, peer):
    address = server.address
    body = json.dumps({"model": "endless", **ASK}).encode()
    before = len(seen(peer)["asked"])
    with socket.create_connection(address) as caller:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {server.client.headers['x-api-key']}\r\n"
        caller.sendall(f"{head}x-request-id: gone-early\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body[:-1])
    assert sdk(server).chat.completions.create(model="good", **ASK).usage.total_tokens == 13
    assert [one["model"] for one in seen(peer)["asked"][before:]] == ["good"]


def test_what_the_server_there_refuses_is_named(server):
    with pytest.raises(openai.BadRequestError, match="too hot"):
        sdk(server).chat.completions.create(model="refuses", **ASK)
    busy = server.client.post("/v1/chat/completions", json={"model": "busy", **ASK})
    assert (busy.status_code, busy.headers["retry-after"], busy.json()["error"]["code"]) == (503, "7", "server_is_overloaded")
    streamed = server.client.post("/v1/chat/completions", json={"model": "busy", **ASK, "stream": True})
    assert streamed.status_code == 503


def test_a_key_without_budget_or_units_is_refused_before_anything_is_sent(server, peer):
    key = server.ask("POST", "/api/keys", json={"label": "small", "scopes": ["predict"], "limits": {"upm": 40}})["key"]
    before = len(seen(peer)["asked"])
    with pytest.raises(openai.RateLimitError):
        sdk(server, key).chat.completions.create(model="good", **ASK)
    assert len(seen(peer)["asked"]) == before
    roomy = server.ask("POST", "/api/keys", json={"label": "roomy", "scopes": ["predict"], "limits": {"upm": 200}})["key"]
    answered = sdk(server, roomy).chat.completions.with_raw_response.create(model="good", **ASK)
    assert answered.headers["x-ratelimit-remaining-tokens"] == "187"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_tokens": 513}, "max_tokens"),
        ({"n": 10**9}, "n"),
        ({"messages": [{"role": "user", "content": "a " * 600}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(server, peer, more, param):
    before = len(seen(peer)["asked"])
    answer = server.client.post("/v1/chat/completions", json={"model": "good", **ASK, **more})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].partition("[")[0] == param
    assert len(seen(peer)["asked"]) == before


@pytest.mark.parametrize(
    ("upstream", "status", "said"),
    [
        ({"url": "http://127.0.0.1:1/v1", "model": "good"}, 403, "MODELTAP_UPSTREAM_HOSTS"),
        ({"url": "http://localhost:{peer}/v1", "model": "good"}, 403, "MODELTAP_UPSTREAM_HOSTS"),
        ({"url": "http://127.0.0.1:{peer}/v1", "model": "god", "key_variable": "PEER_TOKEN"}, 404, "good"),
        ({"url": "http://127.0.0.1:{peer}/v1", "model": "good", "key_variable": "PEER_WRONG"}, 503, "key"),
        ({"url": "http://127.0.0.1:{peer}/v1"}, 400, "name the model"),
        ({"command": ["rm", "-rf", "{port}"]}, 403, "MODELTAP_UPSTREAM_PROGRAMS"),
        ({"command": [sys.executable, "x"]}, 400, "{port}"),
        ({"url": "http://h/v1", "command": ["a", "{port}"], "model": "m"}, 400, "one of the two"),
        ({}, 400, "one of the two"),
    ],
)
def test_an_upstream_that_may_not_be_is_not_deployed(server, peer, upstream, status, said):
    fields = {name: value.replace("{peer}", str(peer)) if name == "url" else value for name, value in upstream.items()}
    answer = server.client.post("/api/deployments", json={"name": "bad", "upstream": fields})
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert server.client.get("/api/deployments/bad").status_code == 404


def test_an_upstream_takes_the_homes_own_key(server, peer):
    key = server.ask("POST", "/api/keys", json={"label": "admin", "scopes": ["admin"]})["key"]
    fields = {"url": f"http://127.0.0.1:{peer}/v1", "model": "good"}
    answer = server.client.post("/api/deployments", json={"name": "x", "upstream": fields}, headers={"x-api-key": key})
    assert answer.status_code == 403


def test_rows_are_not_taken_by_an_upstream(server):
    assert server.client.post("/predict/good", json={"instances": ["a"]}).status_code == 400


def test_a_command_is_started_behind_its_name_and_again_after_a_kill_of_the_server(server):
    made = server.ask("POST", "/api/deployments", json={"name": "own", "upstream": {"command": list(command())}})
    assert made["status"] == "ready", made
    answer = sdk(server).chat.completions.create(model="own", **ASK)
    assert answer.usage.total_tokens == 13
    (folder,) = (server.home / "upstreams").iterdir()
    pid = json.loads((folder / "running.json").read_text())["pid"]
    assert "the peer begins" in (folder / "log").read_text()
    server.kill()
    server.start(MODELTAP_UPSTREAM_PROGRAMS=shlex.join([sys.executable]))
    until("it runs again", lambda: server.ask("GET", "/api/deployments/own")["status"] == "ready")
    assert sdk(server).chat.completions.create(model="own", **ASK).usage.total_tokens == 13
    assert json.loads((folder / "running.json").read_text())["pid"] != pid
    assert server.client.delete("/api/deployments/own").status_code == 200
    until("its program ends", lambda: not (folder / "running.json").exists())


def test_the_books_are_right_in_the_end(server):
    found = server.ask("GET", "/api/audit")
    assert found["clean"] if "clean" in found else not found["findings"], found

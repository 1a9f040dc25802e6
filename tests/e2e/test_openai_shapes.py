"""The raw answers of /v1, field by field: what clients insist on is there, also where it is null."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fault_server import FaultServer, until
from openai_fields import BATCH_STATES, JOB_STATES, checked

from openai_home import MODEL, chat_line, jsonl, lines_in, served

__all__ = ["served"]

HELLO = [{"role": "user", "content": "Hello"}]
TALK = {"messages": [*HELLO, {"role": "assistant", "content": "Good day."}]}
BRIEF = {"model": MODEL, "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module", autouse=True)
def awake(served: FaultServer) -> None:
    """The model is loaded."""
    asked = {**BRIEF, "messages": HELLO}
    until("the model answers", lambda: served.client.post("/v1/chat/completions", json=asked).status_code == 200)


def streamed(served: FaultServer, path: str, **body: Any) -> list[dict[str, Any]]:
    """The events before the one that ends a stream."""
    asked = {**BRIEF, **body, "stream": True, "stream_options": {"include_usage": True}}
    answer = served.client.post(path, json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    *events, end = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert end == "[DONE]"
    return [json.loads(event) for event in events]


def send_file(served: FaultServer, lines: list[Any], purpose: str) -> str:
    files = {"file": ("lines.jsonl", jsonl(lines))}
    sent: str = checked("file", served.ask("POST", "/v1/files", files=files, data={"purpose": purpose}))["id"]
    return sent


def checked_page(page: Any, kind: str) -> list[Any]:
    data: list[Any] = checked("page", page)["data"]
    ids = [checked(kind, one)["id"] for one in data]
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return data


@pytest.mark.parametrize("logprobs", [None, 1])
def test_completions(served: FaultServer, logprobs: int | None) -> None:
    asked = {"prompt": "Once", "logprobs": logprobs}
    whole = checked("text_completion", served.ask("POST", "/v1/completions", json={**BRIEF, **asked, "n": 2}))
    assert whole["object"] == "text_completion"
    checked("usage", whole["usage"])
    assert [checked("text_completion.choice", one)["index"] for one in whole["choices"]] == [0, 1]
    *parts, last = streamed(served, "/v1/completions", **asked)
    for part in parts:
        assert checked("text_completion.part", part)["usage"] is None
        checked("text_completion.part.choice", part["choices"][0])
    assert checked("text_completion.part", last)["choices"] == []
    checked("usage", last["usage"])


@pytest.mark.parametrize("logprobs", [False, True])
def test_chats(served: FaultServer, logprobs: bool) -> None:
    asked = {"messages": HELLO, "logprobs": logprobs}
    whole = checked("chat.completion", served.ask("POST", "/v1/chat/completions", json={**BRIEF, **asked}))
    assert whole["object"] == "chat.completion"
    checked("usage", whole["usage"])
    checked("chat.completion.message", checked("chat.completion.choice", whole["choices"][0])["message"])
    *chunks, last = streamed(served, "/v1/chat/completions", **asked)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    for chunk in chunks:
        assert checked("chat.completion.chunk", chunk)["usage"] is None
        checked("chat.completion.chunk.choice", chunk["choices"][0])
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert checked("chat.completion.chunk", last)["choices"] == []
    checked("usage", last["usage"])


def test_models(served: FaultServer) -> None:
    listed = served.ask("GET", "/v1/models")
    assert listed["object"] == "list"
    assert [checked("model", one)["id"] for one in listed["data"]] == [MODEL]
    assert checked("model", served.ask("GET", f"/v1/models/{MODEL}")) == listed["data"][0]


def test_files_and_fine_tuning(served: FaultServer) -> None:
    assert checked_page(served.ask("GET", "/v1/fine_tuning/jobs"), "fine_tuning.job") == []
    training = send_file(served, [TALK] * 10, "fine-tune")
    assert training in [one["id"] for one in checked_page(served.ask("GET", "/v1/files"), "file")]
    checked("file", served.ask("GET", f"/v1/files/{training}"))
    asked = {"model": MODEL, "training_file": training}
    job = checked("fine_tuning.job", served.ask("POST", "/v1/fine_tuning/jobs", json=asked))
    ended = checked("fine_tuning.job", served.ask("POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel"))
    assert {job["status"], ended["status"]} <= JOB_STATES
    [listed] = checked_page(served.ask("GET", "/v1/fine_tuning/jobs"), "fine_tuning.job")
    assert listed["id"] == job["id"]
    assert checked_page(served.ask("GET", f"/v1/fine_tuning/jobs/{job['id']}/events"), "fine_tuning.job.event")
    assert served.ask("DELETE", f"/v1/files/{training}") == {"id": training, "object": "file", "deleted": True}


def test_batches(served: FaultServer) -> None:
    lines = send_file(served, [chat_line(0, "Hello"), chat_line(1, "Hello", model="absent")], "batch")
    asked = {"input_file_id": lines, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made = checked("batch", served.ask("POST", "/v1/batches", json=asked))

    def look() -> Any:
        found = checked("batch", served.ask("GET", f"/v1/batches/{made['id']}"))
        assert found["status"] in BATCH_STATES
        return found if found["status"] in ("completed", "failed") else None

    ended = until("the batch ends", look)
    assert ended["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    [answered] = written(served, ended["output_file_id"])
    body = answered["response"]["body"]
    checked("usage", checked("chat.completion", body)["usage"])
    [failed] = written(served, ended["error_file_id"])
    assert failed["response"]["status_code"] == 404
    checked("error", failed["response"]["body"]["error"])
    checked_page(served.ask("GET", "/v1/batches"), "batch")


def written(served: FaultServer, file_id: str) -> list[Any]:
    checked("file", served.ask("GET", f"/v1/files/{file_id}"))
    return [checked("batch.line", line) for line in lines_in(served.client.get(f"/v1/files/{file_id}/content").content)]


@pytest.mark.parametrize(
    ("method", "path", "asked", "status", "param", "code"),
    [
        ("POST", "/v1/chat/completions", {"model": "absent", "messages": HELLO}, 404, "model", "model_not_found"),
        ("POST", "/v1/chat/completions", {**BRIEF, "messages": HELLO, "temperature": 9}, 400, "temperature", "invalid_value"),
        ("POST", "/v1/completions", {**BRIEF, "prompt": "fox " * 2_000}, 400, "max_tokens", "context_length_exceeded"),
        ("POST", "/v1/completions", None, 400, None, None),
        ("GET", "/v1/models/absent", None, 404, "model", "model_not_found"),
        ("GET", "/v1/files/absent", None, 404, None, None),
        ("GET", "/v1/fine_tuning/jobs/absent", None, 404, None, None),
        ("GET", "/v1/batches/absent", None, 404, None, None),
        ("GET", "/v1/absent", None, 404, None, None),
        ("PATCH", "/v1/models", None, 405, None, None),
    ],
)
def test_errors(served: FaultServer, method: str, path: str, asked: Any, status: int, param: Any, code: Any) -> None:
    answer = served.client.request(method, path, json=asked)
    assert answer.status_code == status, answer.text
    error = checked("error", answer.json()["error"])
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["code"] == code or param is None
    assert answer.headers["x-request-id"]


def test_a_key_that_is_wrong_and_one_that_may_not(served: FaultServer) -> None:
    with httpx.Client(base_url=served.client.base_url) as nobody:
        unknown = nobody.get("/v1/models")
        made = served.ask("POST", "/api/keys", json={"scopes": ["predict"], "models": ["other"]})
        headers = {"authorization": f"Bearer {made['key']}"}
        refused = nobody.post("/v1/chat/completions", json={**BRIEF, "messages": HELLO}, headers=headers)
    assert (unknown.status_code, refused.status_code) == (401, 403)
    error = checked("error", unknown.json()["error"])
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    error = checked("error", refused.json()["error"])
    assert (error["type"], error["code"]) == ("permission_error", "model_not_allowed")


def test_a_limit_that_is_reached(served: FaultServer) -> None:
    made = served.ask("POST", "/api/keys", json={"scopes": ["predict"], "limits": {"rpm": 1}})
    with httpx.Client(base_url=served.client.base_url, headers={"authorization": f"Bearer {made['key']}"}) as client:
        first = client.post("/v1/chat/completions", json={**BRIEF, "messages": HELLO})
        second = client.post("/v1/chat/completions", json={**BRIEF, "messages": HELLO})
    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    error = checked("error", second.json()["error"])
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert 0 < int(second.headers["retry-after-ms"]) <= 120_000 and int(second.headers["retry-after"]) >= 1

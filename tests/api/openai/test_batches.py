"""/v1/batches with OpenAI's own client, answered by a real model."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest
from fault_server import FaultServer, until

from modeltap.storage.opening import open_database
from modeltap.storage.tables import UtcTime
from openai_home import CHAT, MODEL, chat_line, client, client_of, ended_batch, jsonl, lines_in, new_key, served

__all__ = ["client", "served"]


def begin(client: openai.OpenAI, lines: Any, endpoint: Any = CHAT, **more: Any) -> Any:
    content = lines if isinstance(lines, bytes) else jsonl(lines)
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def test_each_line_has_the_answer_that_it_has_alone(served: FaultServer, client: openai.OpenAI) -> None:
    lines = [
        chat_line(1, "one"),
        chat_line(2, "two", max_tokens=10**12),
        chat_line(3, "three", model="nobody"),
        chat_line(4, "four", n=2, temperature=0.5, seed=1),
    ]
    begun = begin(client, lines, metadata={"for": "the test"})
    assert (begun.object, begun.status, begun.endpoint, begun.completion_window) == ("batch", "validating", CHAT, "24h")
    assert begun.expires_at == begun.created_at + 24 * 3600
    batch = ended_batch(client, begun.id)
    assert (batch.status, batch.metadata, batch.errors) == ("completed", {"for": "the test"}, None)
    assert dict(batch.request_counts) == {"total": 4, "completed": 2, "failed": 2}
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    good = lines_in(client.files.content(batch.output_file_id).read())
    bad = lines_in(client.files.content(batch.error_file_id).read())
    assert [one["custom_id"] for one in good] == ["line-1", "line-4"]
    assert [set(one) for one in good + bad] == [{"id", "custom_id", "response", "error"}] * 4
    assert [one["response"]["status_code"] for one in good + bad] == [200, 200, 400, 404]
    assert [one["response"]["body"]["error"]["param"] for one in bad] == ["max_tokens", "model"]
    alone = client.chat.completions.create(**lines[0]["body"])
    in_batch = good[0]["response"]["body"]
    assert in_batch["choices"][0]["message"]["content"] == alone.choices[0].message.content
    assert in_batch["usage"]["total_tokens"] == alone.usage.total_tokens
    assert len(good[1]["response"]["body"]["choices"]) == 2
    file = client.files.retrieve(batch.output_file_id)
    assert (file.purpose, file.filename) == ("batch_output", f"{begun.id}_output.jsonl")
    assert client.batches.retrieve(begun.id) == batch


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/completions", {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 3}),
        ("/v1/responses", {"model": MODEL, "input": "hello", "max_output_tokens": 16}),
    ],
)
def test_other_endpoints_take_batches_too(endpoint: str, body: dict[str, Any], client: openai.OpenAI) -> None:
    begun = begin(client, [{"custom_id": "a", "method": "POST", "url": endpoint, "body": body}], endpoint)
    batch = ended_batch(client, begun.id)
    assert dict(batch.request_counts) == {"total": 1, "completed": 1, "failed": 0}, client.files.content(
        batch.error_file_id
    ).text
    assert batch.error_file_id is None and batch.usage.total_tokens > 0


def test_every_line_that_is_no_request_is_told(client: openai.OpenAI) -> None:
    good = chat_line(1, "one")
    lines = [
        json.dumps(good),
        "{",
        json.dumps({**good, "url": "/v1/embeddings"}),
        json.dumps({**good, "method": "GET"}),
        json.dumps(good),
        json.dumps({**good, "custom_id": "x", "body": {**good["body"], "stream": True}}),
        json.dumps({**good, "custom_id": "y", "body": []}),
        "",
        json.dumps({"custom_id": "z"}),
    ]
    batch = ended_batch(client, begin(client, "\n".join(lines).encode()).id)
    assert batch.status == "failed" and batch.failed_at is not None
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    told = {one.line: one.message for one in batch.errors.data}
    assert list(told) == [2, 3, 4, 5, 6, 7, 9]
    for line, words in ((2, "not JSON"), (3, CHAT), (4, "POST"), (5, "line 1"), (6, "stream"), (7, "object"), (9, "method")):
        assert words in told[line], told[line]


def test_what_no_batch_can_be_made_of_is_refused_at_once(client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", b"{}"), purpose="user_data")
    for fields, param, status in (
        ({"input_file_id": "file-nobody"}, None, 404),
        ({"input_file_id": file.id}, "input_file_id", 400),
        ({"endpoint": "/v1/images/edits"}, "endpoint", 400),
        ({"completion_window": "1h"}, "completion_window", 400),
        ({"metadata": {"k": "v" * 513}}, "metadata[...]", 400),
        ({"extra_body": {"priority": 1}}, "priority", 400),
    ):
        asked: Any = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **fields}
        with pytest.raises(openai.APIStatusError) as raised:
            client.batches.create(**asked)
        assert (raised.value.status_code, raised.value.param) == (status, param)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_nobody")


def test_batches_are_seen_by_their_key_and_by_those_who_train(served: FaultServer) -> None:
    served.ask("POST", "/api/tenants", json={"name": "acme"})
    mine, other = (client_of(served, new_key(served, "predict")[1]) for _ in range(2))
    trainer = client_of(served, new_key(served, "train")[1])
    theirs = client_of(served, new_key(served, "train", tenant="acme")[1])
    ids = [ended_batch(mine, begin(mine, [chat_line(1, "x")]).id).id for _ in range(3)]
    assert [batch.id for batch in mine.batches.list(limit=1)] == ids[::-1]
    assert mine.batches.list(limit=2).has_more
    assert set(ids) <= {batch.id for batch in trainer.batches.list()}
    for stranger in (other, theirs):
        assert not set(ids) & {batch.id for batch in stranger.batches.list()}
        with pytest.raises(openai.NotFoundError):
            stranger.batches.retrieve(ids[0])
        with pytest.raises(openai.NotFoundError):
            stranger.batches.cancel(ids[0])
    with pytest.raises(openai.ConflictError, match="completed"):
        mine.batches.cancel(ids[0])
    assert served.client.get(f"/api/batches/{ids[0].replace('batch_', 'job-')}/output").status_code == 404


def test_the_limits_and_models_of_the_key_hold_for_every_line(served: FaultServer) -> None:
    key_id, key = new_key(served, "predict", models=["another"])
    mine = client_of(served, key)
    batch = ended_batch(mine, begin(mine, [chat_line(n, "x") for n in range(3)]).id)
    assert dict(batch.request_counts) == {"total": 3, "completed": 0, "failed": 3}
    bad = lines_in(mine.files.content(batch.error_file_id).read())
    assert {one["response"]["body"]["error"]["code"] for one in bad} == {"model_not_allowed"}
    assert served.ask("GET", "/api/usage", params={"by": "key", "key": key_id})["sums"] == []


def test_what_was_not_sent_in_a_day_is_not_sent_any_more(served: FaultServer) -> None:
    """The batch waits for a limit; then its day is over."""
    _, key = new_key(served, "predict", limits={"rpm": 3})
    mine = client_of(served, key)
    begun = begin(mine, [chat_line(n, "x") for n in range(6)], output_expires_after={"anchor": "created_at", "seconds": 3600})
    job_id = begun.id.replace("batch_", "job-")

    def waits() -> bool:
        told = served.job(job_id)["progress"]
        return told is not None and told["phase"] == "wait"

    until("it waits", waits)
    served.ask("POST", f"/api/jobs/{job_id}/pause")
    served.wait_job(job_id, "paused")
    assert mine.batches.retrieve(begun.id).status == "in_progress"
    database = open_database(served.home)
    yesterday = UtcTime().process_bind_param(datetime.now(UTC) - timedelta(days=1, seconds=5), None)  # type: ignore[arg-type]
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE jobs SET created_at = ? WHERE id = ?", (yesterday, job_id))
    database.close()
    served.ask("POST", f"/api/jobs/{job_id}/resume")
    batch = ended_batch(mine, begun.id)
    assert batch.status == "expired" and batch.expired_at is not None
    assert dict(batch.request_counts) == {"total": 6, "completed": 3, "failed": 3}
    bad = lines_in(mine.files.content(batch.error_file_id).read())
    assert [(one["response"], one["error"]["code"]) for one in bad] == [(None, "batch_expired")] * 3
    output = mine.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 3600

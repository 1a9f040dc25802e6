"""POST /v1/responses: text in and out, streaming, nothing stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from talking import error_of
from workshop import Plane

ASKED: dict[str, Any] = {"model": "tiny", "input": "Hello, who are you?", "max_output_tokens": 12, "temperature": 0}
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"rainy": {"type": "boolean"}}, "required": ["rainy"]},
}


def respond(talker: Plane, **more: Any) -> dict[str, Any]:
    answer = talker.post("/v1/responses", json={**ASKED, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def named_events(talker: Plane, **more: Any) -> list[dict[str, Any]]:
    answer = talker.post("/v1/responses", json={**ASKED, **more, "stream": True})
    assert answer.status_code == 200, answer.text
    found = []
    for block in answer.text.split("\n\n"):
        if block:
            name, data = block.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert found[-1]["type"] == name.removeprefix("event: ")
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def without_ids(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name not in ("id", "call_id")} for item in output]


def test_a_response_says_what_a_chat_says(talker: Plane) -> None:
    chat = {"model": "tiny", "messages": [{"role": "user", "content": ASKED["input"]}], "max_tokens": 12, "temperature": 0}
    said = talker.post("/v1/chat/completions", json=chat).json()
    body = respond(talker)
    assert body["output"][0]["content"][0]["text"] == said["choices"][0]["message"]["content"]
    assert body["usage"]["input_tokens"] == said["usage"]["prompt_tokens"]
    assert body["usage"]["output_tokens"] == said["usage"]["completion_tokens"]
    assert body["status"] == ("incomplete" if said["choices"][0]["finish_reason"] == "length" else "completed")
    assert body["store"] is False


def test_instructions_and_items_are_messages(talker: Plane) -> None:
    items = [{"role": "user", "content": [{"type": "input_text", "text": ASKED["input"]}]}]
    system = [{"type": "message", "role": "developer", "content": "Be brief."}, *items]
    assert without_ids(respond(talker, input=items, instructions="Be brief.")["output"]) == without_ids(
        respond(talker, input=system)["output"]
    )


def test_a_stream_ends_in_the_whole_response(talker: Plane) -> None:
    whole = respond(talker)
    found = named_events(talker)
    names = [event["type"] for event in found]
    assert names[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert names[-1] == f"response.{whole['status']}"
    deltas = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
    assert deltas == whole["output"][0]["content"][0]["text"]
    assert found[-1]["response"]["usage"] == whole["usage"]
    assert without_ids(found[-1]["response"]["output"]) == without_ids(whole["output"])
    assert len({event["item_id"] for event in found if "item_id" in event}) == 1


def test_a_function_is_called_and_its_output_read(talker: Plane) -> None:
    choice = {"type": "function", "name": "weather"}
    body = respond(talker, tools=[WEATHER], tool_choice=choice, max_output_tokens=80)
    [call] = body["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    assert isinstance(json.loads(call["arguments"])["rainy"], bool)
    found = named_events(talker, tools=[WEATHER], tool_choice=choice, max_output_tokens=80)
    assert "response.function_call_arguments.done" in [event["type"] for event in found]
    assert without_ids(found[-1]["response"]["output"]) == without_ids(body["output"])
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    assert respond(talker, input=[{"role": "user", "content": "Hello"}, call, output], tools=[WEATHER])["output"]


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("max_output_tokens", 10**12),
        ("store", True),
        ("previous_response_id", "resp_1"),
        ("background", True),
        ("input[0].type", [{"type": "item_reference", "id": "x"}]),
        ("input[0].role", [{"role": "king", "content": "x"}]),
        ("text.format.schema", {"format": {"type": "json_schema", "name": "x"}}),
        ("tools[0].type", [{"type": "web_search"}]),
        ("unheard_of", 1),
    ],
)
def test_what_cannot_be_is_a_400_that_names_it(talker: Plane, param: str, value: Any) -> None:
    name = param.partition("[")[0].partition(".")[0]
    assert error_of(talker.post("/v1/responses", json={**ASKED, name: value}), 400)["param"] == param

"""The stock OpenAI SDK against a real server, with its strict validation of every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from fault_server import FaultServer
from pydantic import BaseModel
from speaking_server import speaking, wait_records

from modeltap.importing.onnx import Imported

HELLO: list[Any] = [{"role": "user", "content": "Hello, who are you?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"rainy": {"type": "boolean"}}, "required": ["rainy"]},
    },
}


@pytest.fixture(scope="module")
def server(tiny: Imported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with speaking(tmp_path_factory.mktemp("spoken") / "home", tiny) as started:
        yield started


@pytest.fixture(scope="module")
def sdk(server: FaultServer) -> Iterator[openai.OpenAI]:
    key = (server.home / "admin.key").read_text().strip()
    with openai.OpenAI(
        base_url=f"{server.client.base_url}/v1", api_key=key, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def test_models_are_listed_and_found(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["tiny"]
    assert sdk.models.retrieve("tiny").object == "model"
    with pytest.raises(openai.NotFoundError) as refused:
        sdk.models.retrieve("none")
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"


def test_completions(sdk: openai.OpenAI) -> None:
    whole = sdk.completions.create(model="tiny", prompt="Once upon", max_tokens=20, temperature=0, logprobs=1, n=2)
    assert whole.usage is not None
    assert len(whole.choices) == 2
    # The SDK's type for this stream has no place for a text that has not ended, which OpenAI's own server sends as null.
    lenient = openai.OpenAI(base_url=sdk.base_url, api_key=sdk.api_key, max_retries=0)
    with lenient:
        stream = lenient.completions.create(
            model="tiny", prompt="Once upon", max_tokens=20, temperature=0, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    *chunks, last = chunks
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert last.usage is not None
    assert last.usage.completion_tokens * 2 == whole.usage.completion_tokens


def test_chats(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(model="tiny", messages=HELLO, max_completion_tokens=20, temperature=0, logprobs=True)
    stream = sdk.chat.completions.create(
        model="tiny",
        messages=HELLO,
        max_completion_tokens=20,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert last.usage == whole.usage
    raw = sdk.chat.completions.with_raw_response.create(model="tiny", messages=HELLO, max_tokens=2)
    assert raw.headers["modeltap-model"] == "tiny@1"
    assert raw.headers["x-request-id"]


def test_tools_and_parsed_formats(sdk: openai.OpenAI) -> None:
    called = sdk.chat.completions.create(
        model="tiny", messages=HELLO, tools=[WEATHER], tool_choice="required", max_tokens=60, temperature=0
    )
    [call] = called.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert isinstance(json.loads(call.function.arguments)["rainy"], bool)
    with sdk.chat.completions.stream(
        model="tiny", messages=HELLO, tools=[WEATHER], tool_choice="required", max_tokens=60, temperature=0
    ) as stream:
        final = stream.get_final_completion()
    [again] = final.choices[0].message.tool_calls or []
    assert again.function.arguments == call.function.arguments

    class Answer(BaseModel):
        is_dark: bool

    parsed = sdk.chat.completions.parse(model="tiny", messages=HELLO, response_format=Answer, max_tokens=60, temperature=0)
    assert isinstance(parsed.choices[0].message.parsed, Answer)


def test_responses(sdk: openai.OpenAI) -> None:
    whole = sdk.responses.create(model="tiny", input="Hello", instructions="Be brief.", max_output_tokens=20, temperature=0)
    with sdk.responses.stream(
        model="tiny", input="Hello", instructions="Be brief.", max_output_tokens=20, temperature=0
    ) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == whole.output_text
    assert whole.usage is not None


def test_errors_are_of_the_sdks_own_classes(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as long:
        sdk.completions.create(model="tiny", prompt="fox " * 2_000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as unknown:
        sdk.completions.create(model="tiny", prompt="x", logit_bias={"5": 1})
    assert unknown.value.param == "logit_bias"
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="mt-nobody").models.list()


def test_the_books_say_what_the_answers_said(server: FaultServer, sdk: openai.OpenAI) -> None:
    before = len(wait_records(server, 0))
    used = []
    for number in range(3):
        whole = sdk.completions.create(model="tiny", prompt="Once upon", max_tokens=10 + number, n=2)
        assert whole.usage is not None
        used.append(whole.usage.total_tokens)
        *_, last = sdk.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=10 + number, stream=True, stream_options={"include_usage": True}
        )
        assert last.usage is not None
        used.append(last.usage.total_tokens)
    found = wait_records(server, before + len(used))[before:]
    assert [int(record["units"]) for record in found] == used
    assert {record["unit"] for record in found} == {"token"}
    assert {record["delivery"] for record in found[:-1]} == {"delivered"}

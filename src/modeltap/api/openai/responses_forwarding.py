"""Responses of a server elsewhere: it is asked for a chat, which every engine has, and what it says is told as a response."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from modeltap.api.asgi import Answer, json_answer
from modeltap.api.openai.events import EventStream
from modeltap.api.openai.forwarding import checked
from modeltap.api.openai.responses_events import (
    ResponseEvents,
    ended_response,
    output_items,
    response_head,
    response_usage,
)
from modeltap.api.openai.responses_fields import ResponsesRequest, chat_of, named_as_response
from modeltap.api.openai.tool_calls import Piece, ToolCall
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.upstream import UpstreamVersion
from modeltap.serving.upstream_call import Forwarded


async def forward_response(
    plane: Plane, call: Call, version: UpstreamVersion, request: ResponsesRequest
) -> Answer | EventStream:
    """The whole answer, or the stream once its first event is there. Raises as `forward`; an engine without chats is
    UpstreamFailed or InvalidInput, as it says it itself."""
    temperature = 1.0 if request.temperature is None else request.temperature
    head = response_head(
        request, call.request_id, temperature=temperature, top_p=1.0 if request.top_p is None else request.top_p
    )
    with named_as_response():
        forwarded = checked(plane, call, version, chat_of(request))
        if request.stream:
            return EventStream(_events(forwarded, await forwarded.begun(), ResponseEvents(head)))
        choice = _choice_of(await forwarded.whole())
    said = _object(choice.get("message"))
    calls = _Calls()
    calls.add(said.get("tool_calls"))
    output = output_items(call.request_id, _text(said.get("content")), calls.all())
    return json_answer(ended_response(head, output, choice.get("finish_reason"), _usage(forwarded)))


async def _events(
    forwarded: Forwarded, chunks: AsyncGenerator[dict[str, Any], None], events: ResponseEvents
) -> AsyncGenerator[bytes, None]:
    """Text as it comes; calls when they are whole, which is at the end."""
    calls = _Calls()
    async with aclosing(chunks):
        async for chunk in chunks:
            choice = _choice_of(chunk)
            said = _object(choice.get("delta"))
            calls.add(said.get("tool_calls"))
            if choice.get("finish_reason") is not None:
                events.finish(choice["finish_reason"])
            pieces: list[Piece] = [text] if (text := _text(said.get("content"))) else []
            if told := events.begin() + events.grow(pieces):
                yield told
    await forwarded.settle()
    yield events.begin() + events.grow([*calls.all()]) + events.close(_usage(forwarded))


class _Calls:
    """Calls of functions that come in parts, each with the number of its call; or whole."""

    def __init__(self) -> None:
        self._parts: dict[int, dict[str, str]] = {}

    def add(self, told: Any) -> None:
        for place, one in enumerate(told if isinstance(told, list) else ()):
            part, index = _object(one), _object(one).get("index")
            function = _object(part.get("function"))
            known = self._parts.setdefault(index if isinstance(index, int) else place, {"id": "", "name": "", "arguments": ""})
            known["id"] = _text(part.get("id")) or known["id"]
            known["name"] += _text(function.get("name"))
            known["arguments"] += _text(function.get("arguments"))

    def all(self) -> list[ToolCall]:
        """In their order."""
        return [
            ToolCall(one["name"], one["arguments"] or "{}", **({"id": one["id"]} if one["id"] else {}))
            for _, one in sorted(self._parts.items())
        ]


def _usage(forwarded: Forwarded) -> dict[str, Any]:
    usage = forwarded.count.usage()
    return response_usage(usage["prompt_tokens"], usage["completion_tokens"])


def _choice_of(found: Mapping[str, Any]) -> dict[str, Any]:
    choices = found.get("choices")
    return _object(choices[0]) if isinstance(choices, list) and choices else {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """Some servers send arguments as the object that they are."""
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return value if isinstance(value, str) else ""

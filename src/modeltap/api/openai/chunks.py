"""Answers of completions and chats, whole or in chunks, in the shape that both have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from modeltap.api.asgi import Answer, json_answer
from modeltap.api.openai.events import DONE, EventStream, event
from modeltap.api.openai.fields import ChatRequest, CompletionRequest, Writing
from modeltap.api.openai.writing import Encode, usage_of, write_stream, write_whole
from modeltap.domain.generation import GenerationRequest, TokenDelta
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane


class ChunkFrames:
    """Makes the chunks of one answer. `field` is where a choice has what came: `text`, or `delta`."""

    def __init__(self, head: Mapping[str, Any], field: str, *, num_texts: int, has_usage: bool) -> None:
        self._end = b',"usage":null}\n\n' if has_usage else b"}\n\n"
        opened = msgspec.json.encode(head)[:-1]
        self._heads = [b'data: %b,"choices":[{"index":%d,"%b":' % (opened, n, field.encode()) for n in range(num_texts)]

    def chunk(
        self, number: int, value: str | dict[str, Any], *, logprobs: dict[str, Any] | None = None, reason: str | None = None
    ) -> bytes:
        """One event, of the text with that number."""
        return b'%b%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._heads[number],
            msgspec.json.encode(value),
            b"null" if logprobs is None else msgspec.json.encode(logprobs),
            b"null" if reason is None else b'"%b"' % reason.encode(),
            self._end,
        )


class Asked(Protocol):
    """A completion or a chat that was read."""

    @property
    def request(self) -> ChatRequest | CompletionRequest: ...

    @property
    def requests(self) -> Sequence[GenerationRequest]: ...

    @property
    def prompt_tokens(self) -> int: ...


def answer_head(call: Call, request: Writing) -> dict[str, Any]:
    """How the whole answer begins, or each chunk of it."""
    is_chat = isinstance(request, ChatRequest)
    kind = f"chat.completion{'.chunk' if request.stream else ''}" if is_chat else "text_completion"
    return {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{call.request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
        "system_fingerprint": None if call.version is None else call.version.model_id,
    }


async def write_answer(
    plane: Plane,
    call: Call,
    asked: Asked,
    *,
    encode: Callable[[Mapping[str, Any]], Encode],
    choices: Callable[[list[TokenDelta]], list[dict[str, Any]]],
) -> Answer | EventStream:
    """The whole answer with these choices; or the stream, whose events `encode` makes under the head it is given, and which
    ends with what was used where that was asked for. Raises as `write_whole`."""
    head, prompt_tokens, requests = answer_head(call, asked.request), asked.prompt_tokens, asked.requests
    if not asked.request.stream:
        written = await write_whole(plane, call, requests, prompt_tokens=prompt_tokens)
        usage = usage_of(prompt_tokens, sum(len(text.ids) for text in written))
        return json_answer({**head, "choices": choices(written), "usage": usage})

    def close(num_ids: int) -> bytes:
        return usage_event(head, usage_of(prompt_tokens, num_ids)) if asked.request.has_usage else DONE

    return await write_stream(plane, call, requests, prompt_tokens=prompt_tokens, encode=encode(head), close=close)


def usage_event(head: Mapping[str, Any], usage: Mapping[str, Any]) -> bytes:
    """The last chunk, and the end."""
    return event({**head, "choices": [], "usage": usage}) + DONE

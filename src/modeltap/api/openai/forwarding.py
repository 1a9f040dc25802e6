"""Completions and chats that a server elsewhere answers: the checked fields go there, and what comes back is shown as ours.

What the answer is called, which model it names and what it used is said by us; only fields that OpenAI's answers have are
handed on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from modeltap.api.asgi import Answer, json_answer
from modeltap.api.openai.chunks import answer_head, usage_event
from modeltap.api.openai.events import DONE, EventStream, event
from modeltap.api.openai.fields import ChatRequest, CompletionRequest, Writing
from modeltap.api.openai.messages import TAKEN, read_messages
from modeltap.api.openai.problems import refused, too_long
from modeltap.api.openai.sampling import check_stream, stops_of
from modeltap.domain.generation import MAX_CHOICES
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.upstream import UpstreamVersion
from modeltap.serving.upstream_call import Forwarded
from modeltap.serving.upstream_count import COMPLETION_TOKENS, choices_of, least_prompt_tokens, limit_of

COMPLETIONS, CHAT = "/completions", "/chat/completions"
SENT = (
    "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "messages", "n",
    "parallel_tool_calls", "presence_penalty", "prompt", "response_format", "seed", "stop", "suffix", "temperature",
    "tool_choice", "tools", "top_k", "top_logprobs", "top_p",
)  # fmt: skip
"""Of a request; the others have no effect, or are ours to say."""
MESSAGE = ("role", "content", "refusal", "tool_calls", "function_call", "annotations", "reasoning_content", "reasoning")


async def forward(
    plane: Plane, call: Call, version: UpstreamVersion, request: ChatRequest | CompletionRequest
) -> Answer | EventStream:
    """The whole answer, or the stream once its first event is there. Raises InvalidInput, ContextTooLong, LimitReached,
    Overloaded, UpstreamFailed, ClientGone."""
    forwarded = checked(plane, call, version, request)
    if not request.stream:
        answer = await forwarded.whole()
        return json_answer(answer_head(call, request) | _shown(answer, request) | {"usage": forwarded.count.usage()})
    return EventStream(_events(forwarded, await forwarded.begun(), call, request))


def checked(plane: Plane, call: Call, version: UpstreamVersion, request: ChatRequest | CompletionRequest) -> Forwarded:
    """What is sent on. Raises InvalidInput, ContextTooLong."""
    body = body_of(request)
    _check(body, version.language.context_tokens)
    return Forwarded(plane, call, version, CHAT if isinstance(request, ChatRequest) else COMPLETIONS, body)


def body_of(request: ChatRequest | CompletionRequest) -> dict[str, Any]:
    """What is sent on, without what was not said. Raises InvalidInput naming the field that does not fit."""
    check_stream(request)
    stops_of(request.stop)
    body = {name: value for name, value in _plain(request).items() if name in SENT}
    if isinstance(request, CompletionRequest):
        _check_prompt(request.prompt)
        if (request.best_of or request.n or 1) < (request.n or 1):
            raise refused(
                "best_of", f"'best_of' is {request.best_of}, less than 'n', which is {request.n}; it is at least that"
            )
        body.setdefault("max_tokens", COMPLETION_TOKENS)
    else:
        if request.store:
            raise refused("store", "nothing is stored here; leave out 'store', or send false")
        body["messages"] = _messages(request.messages)
    if choices_of(body) > MAX_CHOICES:
        raise refused("n", f"{choices_of(body):,} texts are more than the {MAX_CHOICES} of one request")
    return body


def _check(body: Mapping[str, Any], context_tokens: int) -> None:
    limit, least = limit_of(body), least_prompt_tokens(body)
    name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    if limit is not None and limit > context_tokens:
        raise refused(name, f"'{name}' is {limit:,}; the model reads and writes {context_tokens:,} tokens together")
    if least > context_tokens:
        param = "prompt" if "prompt" in body else "messages"
        raise too_long(param, f"it has {least:,} at least; shorten it", context_tokens)


def _check_prompt(prompt: Any) -> None:
    many = prompt if isinstance(prompt, list) else [prompt]
    is_ids = bool(many) and all(type(one) is int and one >= 0 for one in many)
    are_prompts = bool(many) and all(
        isinstance(one, str) or (isinstance(one, list) and bool(one) and all(type(id_) is int and id_ >= 0 for id_ in one))
        for one in many
    )
    if not is_ids and not are_prompts:
        raise refused("prompt", "'prompt' is a text, an array of texts, an array of token ids, or an array of such arrays")


def _messages(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As any server takes them: a role that is known everywhere, a text in place of its parts. Raises InvalidInput."""
    return [
        {
            **{name: value for name, value in message.items() if name in TAKEN and value is not None},
            "role": read["role"],
            "content": None if message.get("content") is None else read["content"],
        }
        for message, read in zip(given, read_messages(given), strict=True)
    ]


async def _events(
    forwarded: Forwarded, chunks: AsyncGenerator[dict[str, Any], None], call: Call, request: Writing
) -> AsyncGenerator[bytes, None]:
    head = answer_head(call, request)
    more = {"usage": None} if request.has_usage else {}
    async with aclosing(chunks):
        async for chunk in chunks:
            shown = _shown(chunk, request, is_chunk=True)
            if shown["choices"]:
                yield event(head | shown | more)
    await forwarded.settle()
    yield usage_event(head, forwarded.count.usage()) if request.has_usage else DONE


def _shown(found: Mapping[str, Any], request: Writing, *, is_chunk: bool = False) -> dict[str, Any]:
    choices = found.get("choices")
    told = [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    is_chat = isinstance(request, ChatRequest)
    return {"choices": [_choice(one, place, is_chat=is_chat, is_chunk=is_chunk) for place, one in enumerate(told)]}


def _choice(found: Mapping[str, Any], place: int, *, is_chat: bool, is_chunk: bool) -> dict[str, Any]:
    index = found.get("index")
    shown: dict[str, Any] = {
        "index": index if isinstance(index, int) else place,
        "finish_reason": found.get("finish_reason"),
        "logprobs": found.get("logprobs"),
    }
    if not is_chat:
        return shown | {"text": str(found.get("text") or "")}
    name = "delta" if is_chunk else "message"
    said = found.get(name)
    message = {field: said[field] for field in MESSAGE if field in said} if isinstance(said, dict) else {}
    if not is_chunk:
        message = {"role": "assistant", "content": None, "refusal": None} | message
    return shown | {name: message}


def _plain(value: Any) -> Any:
    """Structs as dicts without what was not said; what the caller wrote itself stays as it is."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(found) for name in value.__struct_fields__ if (found := getattr(value, name)) is not None}
    return [_plain(one) for one in value] if isinstance(value, list) else value

"""POST /v1/chat/completions: the answer to messages, through the template that came with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope
from modeltap.api.body import apart, read_body
from modeltap.api.openai.chunks import ChunkFrames, write_answer
from modeltap.api.openai.events import EventStream
from modeltap.api.openai.fields import ChatRequest
from modeltap.api.openai.forwarding import forward
from modeltap.api.openai.logprobs import chat_logprobs
from modeltap.api.openai.messages import read_messages
from modeltap.api.openai.problems import refused, too_long
from modeltap.api.openai.prompts import CHARS_PER_TOKEN
from modeltap.api.openai.reading import decode_request
from modeltap.api.openai.sampling import check_top_logprobs, grammar_of, room_of, sampling_of
from modeltap.api.openai.tool_calls import Offer, Piece, ToolReader, read_offer, read_whole, split_pieces
from modeltap.api.openai.writing import (
    INLINE_BYTES,
    check_repeatable,
    find_model,
    naming,
    requests_of,
)
from modeltap.domain.generation import GenerationRequest, TokenDelta
from modeltap.serving.call import Call
from modeltap.serving.language import LanguageVersion
from modeltap.serving.plane import Plane
from modeltap.serving.upstream import UpstreamVersion

_DECODER = msgspec.json.Decoder(ChatRequest)


@dataclass(frozen=True)
class Question:
    """A chat that was read."""

    version: LanguageVersion
    request: ChatRequest
    requests: list[GenerationRequest]
    prompt_tokens: int
    offer: Offer

    @property
    def grammar_param(self) -> str | None:
        """The field whose grammar the engine may refuse."""
        if self.requests[0].sampling.grammar is None:
            return None
        return "tools" if self.offer.forced else "response_format"


class Chat:
    def __init__(self, plane: Plane, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer | EventStream:
        """The whole answer, or the stream. Raises InvalidInput, ContextTooLong, ModelNotFound, LimitReached, Unavailable."""
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        request = decode_request(body, _DECODER)
        check_repeatable(scope, stream=request.stream)
        version = find_model(self._plane, call, request.model)
        if isinstance(version, UpstreamVersion):
            return await forward(self._plane, call, version, request)
        with version.held():
            question = await apart(len(body), lambda: read_question(version, request), inline_bytes=INLINE_BYTES)
            with naming(question.grammar_param):
                return await write_answer(
                    self._plane,
                    call,
                    question,
                    encode=lambda head: _Chunks(question, head).encode,
                    choices=lambda written: [_choice(question, number, text) for number, text in enumerate(written)],
                )


def read_question(version: LanguageVersion, request: ChatRequest) -> Question:
    """Raises InvalidInput naming the field, ContextTooLong."""
    if request.store:
        raise refused("store", "nothing is stored here; leave out 'store', or send false")
    if request.modalities is not None and request.modalities != ["text"]:
        raise refused("modalities", "the model writes text alone; leave out 'modalities', or send [\"text\"]")
    check_top_logprobs("top_logprobs", request.top_logprobs)
    if request.top_logprobs is not None and not request.logprobs:
        raise refused("top_logprobs", "'top_logprobs' are told with 'logprobs': true; send both, or none")
    offer = read_offer(request, writes_calls=version.writes_tool_calls)
    grammar = grammar_of(request.response_format)
    if grammar is not None and offer.tools:
        raise refused("response_format", "an answer has either this format or calls of tools; leave out one of the two")
    prompt_ids = chat_ids(version, read_messages(request.messages), list(offer.tools) or None)
    given, param = request.max_tokens, "max_tokens"
    if request.max_completion_tokens is not None:
        given, param = request.max_completion_tokens, "max_completion_tokens"
    if given == 0:
        raise refused(param, f"'{param}' is 0; ask for 1 at least")
    max_tokens = room_of(len(prompt_ids), version.language.context_tokens, given, param=param, default=None)
    sampling = sampling_of(request, max_tokens=max_tokens, logprobs=bool(request.logprobs), grammar=grammar or offer.grammar())
    return Question(version, request, requests_of(prompt_ids, sampling, request.n or 1), len(prompt_ids), offer)


def chat_ids(
    version: LanguageVersion, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *, param: str = "messages"
) -> tuple[int, ...]:
    """What the model reads. Raises InvalidInput without a template, ContextTooLong for messages that cannot fit."""
    if not version.tokenizer.has_chat_template:
        raise refused(param, f"{version.model_id} has no chat template; send one 'prompt' to /v1/completions")
    num_chars = sum(len(message["content"]) for message in messages)
    context_tokens = version.language.context_tokens
    if num_chars > context_tokens * CHARS_PER_TOKEN:
        raise too_long(param, f"the messages have {num_chars:,} characters; shorten them", context_tokens)
    return tuple(version.tokenizer.chat(messages, tools=tools))


def _choice(question: Question, number: int, text: TokenDelta) -> dict[str, Any]:
    content, calls = read_whole(question.offer.reader(), [text.text])
    message: dict[str, Any] = {"role": "assistant", "content": content if content or not calls else None, "refusal": None}
    if calls:
        message["tool_calls"] = [one.shown() for one in calls]
    logprobs = None
    if question.request.logprobs:
        alternatives = question.request.top_logprobs or 0
        logprobs = chat_logprobs(text, question.version.tokenizer, alternatives=alternatives)
    reason = finish_reason(text, num_calls=len(calls))
    return {"index": number, "message": message, "logprobs": logprobs, "finish_reason": reason}


def finish_reason(text: TokenDelta, *, num_calls: int) -> str | None:
    if num_calls and text.finish == "stop":
        return "tool_calls"
    return "stop" if text.finish == "cancelled" else text.finish


class _Chunks:
    """What came of a chat's answers, as events; each answer begins with its role."""

    def __init__(self, question: Question, head: Mapping[str, Any]) -> None:
        self._question = question
        numbers = range(len(question.requests))
        self._chunk = ChunkFrames(head, "delta", num_texts=len(numbers), has_usage=question.request.has_usage).chunk
        self._readers: list[ToolReader | None] = [question.offer.reader() if question.offer.tools else None for _ in numbers]
        self._begun: set[int] = set()

    def encode(self, taken: Mapping[int, TokenDelta]) -> bytes:
        return b"".join(part for number, delta in taken.items() for part in self._chunks(number, delta))

    def _chunks(self, number: int, delta: TokenDelta) -> list[bytes]:
        chunks = []
        if number not in self._begun:
            self._begun.add(number)
            chunks.append(self._chunk(number, {"role": "assistant", "content": "", "refusal": None}))
        logprobs = None
        if self._question.request.logprobs and delta.ids:
            alternatives = self._question.request.top_logprobs or 0
            logprobs = chat_logprobs(delta, self._question.version.tokenizer, alternatives=alternatives)
        reader = self._readers[number]
        num_calls = 0
        if reader is None:
            if delta.text or (logprobs is not None and logprobs["content"]):
                chunks.append(self._chunk(number, {"content": delta.text}, logprobs=logprobs))
        else:
            pieces = reader.feed(delta.text)
            if delta.finish is not None:
                pieces += reader.finish()
            chunks += self._pieces(number, pieces, logprobs, reader)
            num_calls = reader.num_calls
        if delta.finish is not None:
            chunks.append(self._chunk(number, {}, reason=finish_reason(delta, num_calls=num_calls)))
        return chunks

    def _pieces(self, number: int, pieces: list[Piece], logprobs: dict[str, Any] | None, reader: ToolReader) -> list[bytes]:
        text, calls = split_pieces(pieces)
        chunks = []
        if text or (logprobs is not None and logprobs["content"]):
            chunks.append(self._chunk(number, {"content": text}, logprobs=logprobs))
        first = reader.num_calls - len(calls)
        for place, one in enumerate(calls, start=first):
            chunks.append(self._chunk(number, {"tool_calls": [{"index": place, **one.shown()}]}))
        return chunks

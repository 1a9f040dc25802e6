"""POST /v1/responses: text in, text and calls of functions out; nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.body import apart, read_body
from modeltap.api.openai.chat import Question, read_question
from modeltap.api.openai.events import EventStream
from modeltap.api.openai.problems import refused
from modeltap.api.openai.reading import decode_request
from modeltap.api.openai.responses_events import (
    ResponseEvents,
    ended_response,
    output_items,
    response_head,
    response_usage,
)
from modeltap.api.openai.responses_fields import ResponsesRequest, chat_of, named_as_response
from modeltap.api.openai.responses_forwarding import forward_response
from modeltap.api.openai.tool_calls import read_whole
from modeltap.api.openai.writing import INLINE_BYTES, check_repeatable, find_model, naming, write_stream, write_whole
from modeltap.domain.generation import TokenDelta
from modeltap.serving.call import Call
from modeltap.serving.language import LanguageVersion
from modeltap.serving.plane import Plane
from modeltap.serving.upstream import UpstreamVersion

_DECODER = msgspec.json.Decoder(ResponsesRequest)


class Responses:
    def __init__(self, plane: Plane, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer | EventStream:
        """The whole answer, or the stream. Raises InvalidInput, ContextTooLong, ModelNotFound, LimitReached, Unavailable."""
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        request = decode_request(body, _DECODER)
        check_repeatable(scope, stream=request.stream)
        if request.stream_options is not None and not request.stream:
            raise refused("stream_options", "'stream_options' are for a stream; leave them out, or send 'stream': true")
        version = find_model(self._plane, call, request.model)
        if isinstance(version, UpstreamVersion):
            return await forward_response(self._plane, call, version, request)
        with version.held():
            question = await apart(len(body), lambda: _read(version, request), inline_bytes=INLINE_BYTES)
            sampling = question.requests[0].sampling
            head = response_head(request, call.request_id, temperature=sampling.temperature, top_p=sampling.top_p)
            param = question.grammar_param
            with named_as_response(), naming(param):
                if request.stream:
                    events = _Events(question, ResponseEvents(head))
                    return await write_stream(
                        self._plane,
                        call,
                        question.requests,
                        prompt_tokens=question.prompt_tokens,
                        encode=events.encode,
                        close=events.close,
                    )
                written = await write_whole(self._plane, call, question.requests, prompt_tokens=question.prompt_tokens)
        text, calls = read_whole(question.offer.reader(), [written[0].text])
        output = output_items(call.request_id, text, calls)
        usage = response_usage(question.prompt_tokens, len(written[0].ids))
        return json_answer(ended_response(head, output, written[0].finish, usage))


def _read(version: LanguageVersion, request: ResponsesRequest) -> Question:
    with named_as_response():
        return read_question(version, chat_of(request))


class _Events:
    """What the model wrote, as events of a response."""

    def __init__(self, question: Question, events: ResponseEvents) -> None:
        self._prompt_tokens = question.prompt_tokens
        self._reader = question.offer.reader()
        self._events = events

    def encode(self, taken: Mapping[int, TokenDelta]) -> bytes:
        delta = taken[0]
        begun = self._events.begin()
        pieces = self._reader.feed(delta.text)
        if delta.finish is not None:
            self._events.finish(delta.finish)
            pieces += self._reader.finish()
        return begun + self._events.grow(pieces)

    def close(self, num_ids: int) -> bytes:
        return self._events.close(response_usage(self._prompt_tokens, num_ids))

"""POST /v1/responses: text in, text and calls of functions out; nothing is stored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.body import apart, read_body
from modeltap.api.openai.chat import Question, read_question
from modeltap.api.openai.events import EventStream, named_event
from modeltap.api.openai.problems import refused
from modeltap.api.openai.reading import decode_request
from modeltap.api.openai.responses_fields import ResponsesRequest, chat_of
from modeltap.api.openai.tool_calls import Piece, ToolCall, read_whole, split_pieces
from modeltap.api.openai.writing import INLINE_BYTES, check_repeatable, find_model, naming, write_stream, write_whole
from modeltap.domain.generation import TokenDelta
from modeltap.errors import InvalidInput
from modeltap.serving.call import Call
from modeltap.serving.language import LanguageVersion
from modeltap.serving.plane import Plane

_DECODER = msgspec.json.Decoder(ResponsesRequest)
NAMES = {"messages": "input", "max_completion_tokens": "max_output_tokens", "response_format": "text.format"}
"""Fields of a chat, as they are called here."""


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
        if not isinstance(version, LanguageVersion):
            raise refused("model", f"'{request.model}' is written elsewhere; ask it at /v1/chat/completions")
        with version.held():
            question = await apart(len(body), lambda: _read(version, request), inline_bytes=INLINE_BYTES)
            head = _head(request, call, question)
            param = question.grammar_param
            with naming(None if param is None else _renamed(param)):
                if request.stream:
                    events = _Events(question, head)
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
        output = [*([_message(call.request_id, text)] if text or not calls else []), *map(_call_item, calls)]
        return json_answer(_ended(head, output, written[0].finish, question.prompt_tokens, len(written[0].ids)))


def _read(version: LanguageVersion, request: ResponsesRequest) -> Question:
    try:
        return read_question(version, chat_of(request))
    except InvalidInput as problem:
        problem.fields = tuple((_renamed(param), told) for param, told in problem.fields)
        raise


def _renamed(param: str) -> str:
    name = next((name for name in NAMES if param.startswith(name)), None)
    return param if name is None else NAMES[name] + param[len(name) :]


def _head(request: ResponsesRequest, call: Call, question: Question) -> dict[str, Any]:
    """The response while it is made. Fields that have no effect are told as they were sent."""
    wanted = {"type": "text"} if request.text is None or request.text.format is None else _plain(request.text.format)
    return {
        "id": f"resp_{call.request_id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": question.requests[0].sampling.temperature,
        "text": {"format": wanted},
        "tool_choice": request.tool_choice or "auto",
        "tools": [{**_plain(tool), "strict": tool.strict, "parameters": tool.parameters} for tool in request.tools or ()],
        "top_p": question.requests[0].sampling.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
    }


def _plain(value: Any) -> dict[str, Any]:
    return {name: found for name, found in msgspec.structs.asdict(value).items() if found is not None}


def _ended(
    head: Mapping[str, Any], output: list[dict[str, Any]], finish: str | None, prompt_tokens: int, num_ids: int
) -> dict[str, Any]:
    is_cut = finish == "length"
    return {
        **head,
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": output,
        "usage": {
            "input_tokens": prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": num_ids,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt_tokens + num_ids,
        },
    }


def _message(request_id: str, text: str | None, *, status: str = "completed") -> dict[str, Any]:
    content = [] if text is None else [_part(text)]
    return {"id": f"msg_{request_id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(one: ToolCall, *, status: str = "completed", arguments: str | None = None) -> dict[str, Any]:
    return {
        "id": f"fc_{one.id}",
        "type": "function_call",
        "call_id": one.id,
        "name": one.name,
        "arguments": one.arguments if arguments is None else arguments,
        "status": status,
    }


class _Events:
    """The one answer of a response as numbered events: items open, grow and close one after the other."""

    def __init__(self, question: Question, head: dict[str, Any]) -> None:
        self._question = question
        self._head = head
        self._reader = question.offer.reader()
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._text: str | None = None
        """Of the message that is open; None where none is."""
        self._finish: str | None = None

    def encode(self, taken: Mapping[int, TokenDelta]) -> bytes:
        delta = taken[0]
        events = []
        if not self._number:
            events += [self._event(name, response=self._head) for name in ("response.created", "response.in_progress")]
        pieces = self._reader.feed(delta.text)
        if delta.finish is not None:
            self._finish = delta.finish
            pieces += self._reader.finish()
        events += self._grow(pieces)
        return b"".join(events)

    def close(self, num_ids: int) -> bytes:
        events = []
        if self._text is None and not self._output:
            events += self._open_message()
        events += self._close_message()
        ended = _ended(self._head, self._output, self._finish, self._question.prompt_tokens, num_ids)
        return b"".join([*events, self._event(f"response.{ended['status']}", response=ended)])

    def _grow(self, pieces: list[Piece]) -> list[bytes]:
        events = []
        text, calls = split_pieces(pieces)
        if text:
            if self._text is None:
                events += self._open_message()
            self._text = (self._text or "") + text
            events.append(self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[]))
        for one in calls:
            events += [*self._close_message(), *self._call(one)]
        return events

    def _open_message(self) -> list[bytes]:
        self._text = ""
        item = _message(self._item_id(), None, status="in_progress")
        return [
            self._event("response.output_item.added", output_index=len(self._output), item=item),
            self._event("response.content_part.added", **self._place(), part=_part("")),
        ]

    def _close_message(self) -> list[bytes]:
        if self._text is None:
            return []
        text, place = self._text, self._place()
        item = _message(self._item_id(), text)
        events = [
            self._event("response.output_text.done", **place, text=text, logprobs=[]),
            self._event("response.content_part.done", **place, part=_part(text)),
            self._event("response.output_item.done", output_index=len(self._output), item=item),
        ]
        self._output.append(item)
        self._text = None
        return events

    def _call(self, one: ToolCall) -> list[bytes]:
        index, item = len(self._output), _call_item(one)
        where = {"item_id": item["id"], "output_index": index}
        begun = _call_item(one, status="in_progress", arguments="")
        self._output.append(item)
        return [
            self._event("response.output_item.added", output_index=index, item=begun),
            self._event("response.function_call_arguments.delta", **where, delta=one.arguments),
            self._event("response.function_call_arguments.done", **where, name=one.name, arguments=one.arguments),
            self._event("response.output_item.done", output_index=index, item=item),
        ]

    def _item_id(self) -> str:
        return f"{str(self._head['id']).removeprefix('resp_')}-{len(self._output)}"

    def _place(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self._item_id()}", "output_index": len(self._output), "content_index": 0}

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return named_event(kind, {"type": kind, "sequence_number": number, **fields})

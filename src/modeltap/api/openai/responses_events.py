"""What a response looks like while it is made and when it has ended, and the events that tell of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from modeltap.api.openai.events import named_event
from modeltap.api.openai.responses_fields import ResponsesRequest
from modeltap.api.openai.tool_calls import Piece, ToolCall, split_pieces


def response_head(request: ResponsesRequest, request_id: str, *, temperature: float, top_p: float) -> dict[str, Any]:
    """The response while it is made. Fields that have no effect are told as they were sent."""
    wanted = {"type": "text"} if request.text is None or request.text.format is None else _plain(request.text.format)
    return {
        "id": f"resp_{request_id}",
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
        "temperature": temperature,
        "text": {"format": wanted},
        "tool_choice": request.tool_choice or "auto",
        "tools": [{**_plain(tool), "strict": tool.strict, "parameters": tool.parameters} for tool in request.tools or ()],
        "top_p": top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
    }


def _plain(value: Any) -> dict[str, Any]:
    return {name: found for name, found in msgspec.structs.asdict(value).items() if found is not None}


def response_usage(prompt_tokens: int, num_ids: int) -> dict[str, Any]:
    """What was used, in the words of this protocol."""
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": num_ids,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + num_ids,
    }


def ended_response(
    head: Mapping[str, Any], output: list[dict[str, Any]], finish: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    """The response when it has ended; one that was cut says so."""
    is_cut = finish == "length"
    return {
        **head,
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": output,
        "usage": usage,
    }


def output_items(request_id: str, text: str, calls: list[ToolCall]) -> list[dict[str, Any]]:
    """Of a whole answer."""
    return [*([_message(request_id, text)] if text or not calls else []), *map(_call_item, calls)]


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


class ResponseEvents:
    """The one answer of a response as numbered events: items open, grow and close one after the other."""

    def __init__(self, head: dict[str, Any]) -> None:
        self._head = head
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._text: str | None = None
        """Of the message that is open; None where none is."""
        self._finish: str | None = None

    def begin(self) -> bytes:
        """The response is being made. Nothing if that was said before."""
        if self._number:
            return b""
        return b"".join(self._event(name, response=self._head) for name in ("response.created", "response.in_progress"))

    def finish(self, reason: str | None) -> None:
        """Why the answer ended."""
        self._finish = reason

    def close(self, usage: dict[str, Any]) -> bytes:
        """The last events."""
        events = []
        if self._text is None and not self._output:
            events += self._open_message()
        events += self._close_message()
        ended = ended_response(self._head, self._output, self._finish, usage)
        return b"".join([*events, self._event(f"response.{ended['status']}", response=ended)])

    def grow(self, pieces: list[Piece]) -> bytes:
        """What was said since."""
        events = []
        text, calls = split_pieces(pieces)
        if text:
            if self._text is None:
                events += self._open_message()
            self._text = (self._text or "") + text
            events.append(self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[]))
        for one in calls:
            events += [*self._close_message(), *self._call(one)]
        return b"".join(events)

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

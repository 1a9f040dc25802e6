"""The types of an ASGI application, and the few ways in which we answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import IO, Any

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
PIECE_BYTES = 1 << 18


class Answer:
    """A whole answer: status, body, and headers beside content-type and content-length."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(self, status: int, body: bytes, content_type: bytes = JSON, headers: list[Header] | None = None) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers: list[Header] = [] if headers is None else headers


class FileAnswer(Answer):
    """An answer whose body is an open file, which is closed when it was sent, or could not be."""

    __slots__ = ("file", "size_bytes")

    def __init__(
        self, status: int, file: IO[bytes], size_bytes: int, content_type: bytes, headers: list[Header] | None = None
    ) -> None:
        super().__init__(status, b"", content_type, headers)
        self.file = file
        self.size_bytes = size_bytes


def json_answer(value: Any, *, status: int = 200, headers: Iterable[Header] = ()) -> Answer:
    """The value as JSON."""
    return Answer(status, msgspec.json.encode(value), headers=list(headers))


async def send_answer(send: Send, answer: Answer) -> None:
    """Send it in two messages, or a file piece by piece."""
    size_bytes = answer.size_bytes if isinstance(answer, FileAnswer) else len(answer.body)
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % size_bytes),
        *answer.headers,
    ]
    if isinstance(answer, FileAnswer):
        with answer.file as file:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name, stripped."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1")).strip()
    return None

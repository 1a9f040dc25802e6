"""The types of an ASGI application, and the few ways in which we answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"


@dataclass
class Answer:
    """A whole answer: status, body, and headers beside content-type and content-length."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: list[Header] = field(default_factory=list)


def json_answer(value: Any, *, status: int = 200, headers: Iterable[Header] = ()) -> Answer:
    """The value as JSON."""
    return Answer(status, msgspec.json.encode(value), headers=list(headers))


async def send_answer(send: Send, answer: Answer) -> None:
    """Send it in two messages."""
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name, stripped."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1")).strip()
    return None

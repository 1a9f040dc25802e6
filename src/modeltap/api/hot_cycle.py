"""One request that the hot path answers, as its connection holds it until the next one comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from modeltap.api.asgi import Header
from modeltap.api.hot import HotHead


class HotConnection(Protocol):
    """What a request needs of the connection that it came by."""

    transport: asyncio.Transport
    server_state: ServerState
    on_lost: Callable[[], None] | None

    def when_flushed(self, then: Callable[[], None]) -> None: ...

    def answered(self) -> None: ...


class HotCycle:
    """One request that the hot path answers; to uvicorn it is what its own cycle is."""

    __slots__ = ("connection", "disconnected", "head", "keep_alive", "message_event", "more_body", "parts", "response_complete")

    def __init__(self, connection: HotConnection, head: HotHead) -> None:
        self.connection = connection
        self.head = head
        self.parts: list[bytes] = []
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NEVER_WAITED

    @property
    def response_started(self) -> bool:
        """An answer is written at once."""
        return self.response_complete

    @property
    def on_lost(self) -> Callable[[], None] | None:
        return self.connection.on_lost

    @on_lost.setter
    def on_lost(self, then: Callable[[], None] | None) -> None:
        self.connection.on_lost = then

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """Writes the whole answer at once; nothing, if the client has left."""
        connection = self.connection
        transport = connection.transport
        self.response_complete = True
        if self.disconnected or transport.is_closing():
            self.disconnected = True
            return
        first = STATUS_LINE[status] + _default_lines(connection.server_state.default_headers)
        end = b"" if self.keep_alive else b"connection: close\r\n"
        transport.write(b"%b%b%bcontent-length: %d\r\n\r\n%b" % (first, lines, end, len(body), body))
        if not self.keep_alive:
            transport.close()
        connection.answered()

    def when_flushed(self, then: Callable[[], None]) -> None:
        self.connection.when_flushed(then)

    def abort(self) -> None:
        """Closes the connection without an answer, or with what was written of it."""
        self.disconnected = self.response_complete = True
        self.connection.transport.abort()


class _Defaults:
    """The headers that uvicorn puts before those of an answer: a new list each second."""

    seen: ClassVar[list[Header] | None] = None
    lines: ClassVar[bytes] = b""


def _default_lines(headers: list[Header]) -> bytes:
    if headers is not _Defaults.seen:
        _Defaults.seen = headers
        _Defaults.lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return _Defaults.lines


class _NeverWaited:
    """uvicorn sets the event of a cycle whose client has left; nobody waits for that of a hot one."""

    def set(self) -> None:
        return


_NEVER_WAITED = _NeverWaited()

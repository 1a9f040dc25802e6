"""One request that the hot path answers, from its bytes to its answer, as its connection holds it until the next one comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from modeltap.api.asgi import Answer, Header
from modeltap.api.hot_request import HotHead
from modeltap.api.request_id import request_id_of
from modeltap.domain.signature import Batch
from modeltap.serving.call import Call, Connection
from modeltap.telemetry.tracing import Trace


class HotConnection(Protocol):
    """What a request needs of the connection that it came by."""

    transport: asyncio.Transport
    server_state: ServerState
    is_lost: bool

    def when_flushed(self, then: Callable[[], None]) -> None: ...

    def answered(self) -> None: ...


class HotCycle(Connection):
    """To uvicorn it is what its own cycle is, to a call where its caller waits."""

    __slots__ = (
        "answer",
        "call",
        "connection",
        "disconnected",
        "head",
        "is_begun",
        "keep_alive",
        "more_body",
        "parts",
        "request_id",
        "response_complete",
        "show",
        "started_s",
        "trace",
    )

    def __init__(self, connection: HotConnection, head: HotHead) -> None:
        super().__init__()
        self.connection = connection
        self.head = head
        self.parts: list[bytes] = []
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.started_s = 0.0
        """Of its answering; monotonic."""
        self.request_id = request_id_of(head.given_id)
        self.call: Call | None = None
        self.show: Callable[[Batch], Answer] | None = None
        self.answer: Answer | None = None
        self.trace: Trace | None = None
        self.is_begun = False
        """It is counted among those that go the hot way."""

    @property
    def response_started(self) -> bool:
        """An answer is written at once."""
        return self.response_complete

    @property
    def message_event(self) -> HotCycle:
        """uvicorn sets the event of a cycle whose client has left."""
        return self

    def set(self) -> None:
        """Nobody waits here any more."""
        if self.on_lost is not None:
            self.on_lost()

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """Writes the whole answer at once; nothing, if the client has left. `lines` are its headers, each with its end."""
        connection = self.connection
        transport = connection.transport
        self.response_complete = True
        if self.disconnected or transport.is_closing():
            self.disconnected = True
            return
        first = STATUS_LINE[status] + _default_lines(connection.server_state.default_headers)
        end = b"" if self.keep_alive else b"connection: close\r\n"
        length = f"content-length: {len(body)}\r\n\r\n".encode()
        transport.write(b"".join((first, lines, end, length, body)))
        if not self.keep_alive:
            transport.close()
        connection.answered()

    def is_handed_over(self) -> bool:
        """Whether the system has every byte of the answer."""
        connection = self.connection
        return not (self.disconnected or connection.is_lost or connection.transport.get_write_buffer_size())

    def when_flushed(self, then: Callable[[], None]) -> None:
        """Calls `then` once it has; never, if the connection is lost before."""
        if not self.disconnected:
            self.connection.when_flushed(then)

    def abort(self) -> None:
        """Closes the connection without an answer, or with what was written of it."""
        self.disconnected = self.response_complete = True
        self.connection.transport.abort()


class KnownRequest:
    """The last request of a connection that the hot path took, if it came in one segment and nothing else did."""

    __slots__ = ("cycle", "head", "num_bytes", "text")

    def __init__(self, text: bytes, num_bytes: int, cycle: HotCycle) -> None:
        self.text = text
        """Of its head."""
        self.num_bytes = num_bytes
        """Of all of it."""
        self.head = cycle.head
        self.cycle = cycle

    def is_over(self) -> bool:
        """Whether it was read and answered."""
        return self.cycle.response_complete and not self.cycle.more_body


class _Defaults:
    """The headers that uvicorn puts before those of an answer: a new list each second."""

    seen: ClassVar[list[Header] | None] = None
    lines: ClassVar[bytes] = b""


def _default_lines(headers: list[Header]) -> bytes:
    if headers is not _Defaults.seen:
        _Defaults.seen = headers
        _Defaults.lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return _Defaults.lines

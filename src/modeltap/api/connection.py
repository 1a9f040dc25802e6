"""uvicorn as it is used here: a signal ends the server and not the process, and a connection that sends endless headers, stops
sending, or goes on after it was answered, is closed instead of kept.

Timers are one a connection, not one a request: the data plane does not pay for them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and all headers."""
HEAD_S = 15.0
"""From the first byte of a request, or the start of the connection, to the end of its headers."""
SILENCE_S = 60.0
"""Without a byte of a body that was announced."""
MAX_UNREAD_BYTES = 1 << 20
"""Of a body that was answered before it was read, as one that is too large. To close at once would take the answer away from
a client that still sends."""
LOOK_EVERY_S = 5.0
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class HttpServer(uvicorn.Server):
    """Comes back from `serve` after SIGTERM or SIGINT, so that what was opened is closed; uvicorn's own would raise the
    signal once more."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class HttpConnection(HttpToolsProtocol):
    """One connection, with limits on what a client may leave undone."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heard_s = self.loop.time()
        self._head_since_s: float | None = self._heard_s
        self._head_bytes = 0
        self._unread_bytes = 0
        self._overtaken: list[RequestResponseCycle] = []
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        # uvicorn itself tells only the newest request that nobody listens any more.
        for cycle in self._overtaken:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._heard_s = self.loop.time()
        super().data_received(data)
        if self._head_since_s is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        elif self.cycle is not None and self.cycle.response_complete:
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        if self._head_since_s is None:
            self._head_since_s = self._heard_s

    def on_headers_complete(self) -> None:
        self._head_since_s = None
        before = self.cycle
        super().on_headers_complete()
        if before is not None and not before.response_complete:  # a client that did not wait for its answer
            self._overtaken = [cycle for cycle in (*self._overtaken, before) if not cycle.response_complete]

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle.response_complete:  # it was answered before it was read, and is over only now
            self._head_since_s = self._heard_s
            self._unread_bytes = 0

    def _look_again(self) -> None:
        self._look = self.loop.call_later(min(LOOK_EVERY_S, HEAD_S), self._close_if_stuck)

    def _close_if_stuck(self) -> None:
        now_s = self.loop.time()
        if self._head_since_s is not None:
            stuck = now_s - self._head_since_s >= HEAD_S
        else:
            stuck = self._owes_body() and now_s - self._heard_s >= SILENCE_S
        if stuck:
            self.transport.close()
        else:
            self._look_again()

    def _owes_body(self) -> bool:
        """Whether the client is the one to go on; not while we ourselves do not read."""
        return self.cycle is not None and self.cycle.more_body and not self.flow.read_paused

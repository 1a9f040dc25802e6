"""uvicorn as it is used here: a signal ends the server and not the process, and a connection that sends endless headers, stops
sending or taking, or goes on after it was answered, is closed instead of kept.

Timers are one a connection, not one a request: the data plane does not pay for them.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from modeltap.api.framing import (
    MAX_HEAD_BYTES,
    bare_answer,
    framing_left,
    head_without_offer,
    hot_path_of,
    is_long,
    refused_head,
)
from modeltap.api.hot import HotPath
from modeltap.api.hot_cycle import HotCycle, KnownRequest
from modeltap.serving.call import Connection

HEAD_S = 15.0
"""From the first byte of a request, or the start of the connection, to the end of its headers."""
SILENCE_S = 60.0
"""In which hardly a byte comes of a body that was announced, or is taken of an answer."""
SLOWEST_BYTES_S = 500
"""What comes or is taken more slowly counts as silence."""
MAX_UNREAD_BYTES = 1 << 20
"""Of a body that was answered before it was read, as one that is too large. To close at once would take the answer away from
a client that still sends."""
MAX_PIPELINED = 100
"""Requests that a client may send before the first is answered. After these the connection is closed, in order."""
LOOK_EVERY_S = 5.0
FLUSH_LOOK_S = 0.02
"""Between two looks whether a slow reader has taken its whole answer."""

_log = logging.getLogger(__name__)


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
    """One connection, with limits on what a client may leave undone. Requests that the hot path takes are answered by it;
    `hot` is None where there is none, and every request then goes to the application."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.headers = []
        self.hot: HotPath | None = None
        self.closed: Callable[[], None] | None = None
        """Called whenever a connection is over."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heard_s = self.loop.time()
        self._head_since_s: float | None = self._heard_s
        self.is_lost = False
        self._head_bytes = 0
        self._segment_bytes = 0
        self._body_bytes = 0
        self._framing_bytes = 0
        self._unread_bytes = 0
        self._looked_s = self._heard_s
        self._moved_bytes = 0
        """Heard since the last look."""
        self._unsent_bytes = 0
        self._was_taken = False
        """Since the last look: the system took what was written, down to where more is welcome."""
        self._slow_s = 0.0
        self._refusal: bytes | None = None
        self._is_deaf = False
        """What still comes is not read: the connection ends once what was asked before is answered."""
        self._is_offer = False
        """The head that is read also offers another protocol; it will be read again without the offer."""
        self._segment = b""
        """What is being read."""
        self._num_begun = 0
        """Messages that began in it."""
        self._known: KnownRequest | None = None
        self._overtaken: list[RequestResponseCycle] = []
        self._unflushed: list[Callable[[], None]] = []
        self._caller = Connection()
        """Of the ordinary call that is being answered."""
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._look.cancel()
        # uvicorn itself tells only the newest request that nobody listens any more.
        for cycle in self._overtaken:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        self._unflushed.clear()  # what was not handed over is not delivered
        if self._caller.on_lost is not None:
            self._caller.on_lost()
        super().connection_lost(exc)
        if self.closed is not None:
            self.closed()

    def when_flushed(self, then: Callable[[], None]) -> None:
        """Calls `then` once every byte written so far was handed to the system; never, if the connection is lost before."""
        if self.is_lost:
            return
        if self.transport.is_closing() and self.cycle is not None and self.cycle.disconnected:
            return
        if self.transport.get_write_buffer_size() == 0:
            then()
        else:
            if not self._unflushed:  # uvloop hands over what was written when this turn of the loop ends
                self.loop.call_soon(self._look_flushed)
            self._unflushed.append(then)

    def _look_flushed(self) -> None:
        if not self._unflushed:
            return
        if self.transport.get_write_buffer_size():
            self.loop.call_later(FLUSH_LOOK_S, self._look_flushed)
            return
        done, self._unflushed = self._unflushed, []
        for then in done:
            then()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._heard_s = self.loop.time()
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        known = self._known
        if known is not None and len(data) == known.num_bytes and self._is_answered_again(known, data):
            return
        self._segment_bytes = len(data)
        self._segment = data
        self._num_begun = 0
        headers, body_bytes = self.headers, self._body_bytes
        self._parse(data)
        if self._head_since_s is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(bare_answer(431))
        elif headers is self.headers:  # all of it belongs to a message that began before
            self._moved_bytes += len(data)
            if not isinstance(self.cycle, HotCycle):
                self._weigh(len(data), self._body_bytes - body_bytes)
            if self.cycle is not None and self.cycle.response_complete and not self.cycle.more_body:
                self._head_since_s = self._heard_s  # blank lines, say: the next head is due as if it had begun

    def _is_answered_again(self, known: KnownRequest, data: bytes) -> bool:
        """Whether this is a whole request under the same head as the last one, and the hot path takes it. The parser has read
        that head before, from where it stands now, and would say of it what it said then."""
        last, hot = known.cycle, self.hot
        if (
            hot is None
            or self.cycle is not last  # type: ignore[comparison-overlap]
            or not known.is_over()
            or not data.startswith(known.text)
            or self._head_since_s is not None
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return False
        known.cycle = again = HotCycle(self, known.head)
        again.more_body = False
        self.cycle = again  # type: ignore[assignment]
        self._unread_bytes = 0
        if hot.begin(again, data[len(known.text) :]):
            return True
        known.cycle = last
        self.cycle = last  # type: ignore[assignment]
        return False

    def _keep_head(self, cycle: HotCycle, body: bytes) -> None:
        """The next request may come under the same head."""
        text = self._segment
        head_bytes = text.find(b"\r\n\r\n") + 4
        if self._num_begun == 1 and len(text) == head_bytes + len(body) and cycle.keep_alive:
            self._known = KnownRequest(text[:head_bytes], len(text), cycle)

    def _parse(self, data: bytes) -> None:
        """Hands the data to the parser, which calls back. An offer of another protocol is as if it had not been made: the
        parser would leave the body of such a request unread, and take it for the next request."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stopped:
                rest = data[stopped.args[0] :]
                version = self.parser.get_http_version()
                data = head_without_offer(self.parser.get_method(), self.url, version, self.headers) + rest
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self._is_offer = False
            except httptools.HttpParserError as problem:
                if self._refusal is None and isinstance(problem, httptools.HttpParserCallbackError):
                    _log.error("a connection failed", exc_info=problem)
                self._refuse(bare_answer(400) if self._refusal is None else self._refusal)
                return

    def _weigh(self, received_bytes: int, body_bytes: int) -> None:
        """Refuses a body that is mostly framing, and ends one that nobody will read."""
        self._framing_bytes = framing_left(self._framing_bytes, received_bytes, body_bytes)
        if self._framing_bytes > MAX_HEAD_BYTES:
            self._refuse(bare_answer(400))
        elif self.cycle is not None and self.cycle.response_complete and self.cycle.more_body:
            self._unread_bytes += received_bytes
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.transport.close()

    def _refuse(self, answer: bytes) -> None:
        """Ends the connection with this answer to what cannot be read; what was asked before it is answered first."""
        cycle = self.cycle
        self._is_deaf = True
        if cycle is not None and not cycle.response_complete:
            if cycle.more_body and self.pipeline:  # the fault is in it, and it waits for others: they are the last
                self.pipeline.popleft()
                cycle = self.cycle = self._overtaken[-1]
            if not cycle.more_body:
                cycle.keep_alive = False
                return
        if not self.transport.is_closing() and (cycle is None or not cycle.more_body or not cycle.response_started):
            self.transport.write(answer)
        self.transport.close()

    def resume_writing(self) -> None:
        self._was_taken = True
        super().resume_writing()

    def on_message_begin(self) -> None:
        self._num_begun += 1
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._head_bytes = 0
        self._framing_bytes = 0
        if self._head_since_s is None:
            self._head_since_s = self._heard_s

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_since_s is None:
            return  # behind the body: whoever judged the head did not see it
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            self._stop()
        if self._head_bytes + self._segment_bytes > MAX_HEAD_BYTES and is_long(self.url, self.headers):
            self._stop(bare_answer(431))
        self._head_since_s = None
        before = self.cycle
        is_first = before is None or before.response_complete
        if self.hot is not None and is_first and not self.flow.write_paused:
            path = hot_path_of(self.parser.get_method(), self.url, self.headers)
            if path is not None and self.parser.get_http_version() == "1.1" and not self.expect_100_continue:
                self.cycle = HotCycle(self, self.hot.head(path, self.headers))  # type: ignore[assignment]
                return
        refusal = refused_head(self.parser.get_http_version(), self.headers)
        if refusal is not None:
            self._stop(refusal)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop(bare_answer(405))
            self._is_offer = True
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop()
        self._begin_ordinary()
        if before is not None and not before.response_complete:  # a client that did not wait for its answer
            self._overtaken = [cycle for cycle in (*self._overtaken, before) if not cycle.response_complete]

    def _begin_ordinary(self) -> None:
        """The request becomes a task of the application, as uvicorn does it."""
        url, headers, waits = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # makes a scope, which a hot request does not need, and forgets what was read
        self.url, self.headers, self.expect_100_continue = url, headers, waits
        self.scope["headers"] = headers
        self.scope["modeltap.connection"] = self  # type: ignore[typeddict-unknown-key]
        self.scope["modeltap.caller"] = self._caller  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def answered(self) -> None:
        """A hot request is over. No timer is set for it: `_close_if_stuck` looks after connections that stay silent."""
        if self.pipeline or self.flow.read_paused:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1

    def _stop(self, answer: bytes = b"") -> None:
        """The head gets this answer or none: raises what ends the parsing."""
        self._refusal = answer
        raise ValueError("this head is refused")

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, HotCycle):
            self.cycle.parts.append(body)
        else:
            self._body_bytes += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_offer:
            return
        cycle = self.cycle
        if isinstance(cycle, HotCycle):
            cycle.more_body = False
            self._unread_bytes = 0
            cycle.keep_alive = cycle.keep_alive and self.parser.should_keep_alive()
            body = cycle.parts[0] if len(cycle.parts) == 1 else b"".join(cycle.parts)
            assert self.hot is not None
            if self.hot.begin(cycle, body):
                self._keep_head(cycle, body)
                return
            self.cycle = None  # it goes the ordinary way after all
            self._begin_ordinary()
            super().on_body(body)
        super().on_message_complete()
        if self.cycle.response_complete:  # it was answered before it was read, and is over only now
            self.cycle.more_body = False
            self._head_since_s = self._heard_s
            self._unread_bytes = 0

    def _look_again(self) -> None:
        self._look = self.loop.call_later(min(LOOK_EVERY_S, HEAD_S), self._close_if_stuck)

    def _close_if_stuck(self) -> None:
        now_s = self.loop.time()
        unsent_bytes = self.transport.get_write_buffer_size()
        is_silent = self._is_silent(now_s, unsent_bytes)
        if is_silent and unsent_bytes:
            self.transport.abort()  # to close would wait until it is taken, for ever
        elif is_silent or self._is_late(now_s):
            self.transport.close()
        self._look_again()

    def _is_silent(self, now_s: float, unsent_bytes: int) -> bool:
        """Whether the client has hardly taken its answer, or hardly sent its body, for SILENCE_S. Also notes what it did."""
        passed_s, self._looked_s = now_s - self._looked_s, now_s
        taken_bytes, self._unsent_bytes = self._unsent_bytes - unsent_bytes, unsent_bytes
        if unsent_bytes:
            moves = self._was_taken or taken_bytes >= SLOWEST_BYTES_S * passed_s
        else:
            moves = not self._owes_body() or self._moved_bytes >= SLOWEST_BYTES_S * passed_s
        self._slow_s = 0.0 if moves else self._slow_s + passed_s
        self._was_taken, self._moved_bytes = False, 0
        return self._slow_s >= SILENCE_S

    def _is_late(self, now_s: float) -> bool:
        """Whether nothing is being answered and the client should have sent a head, or the next one."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        if self._head_since_s is not None:
            return now_s - self._head_since_s >= HEAD_S
        return isinstance(self.cycle, HotCycle) and now_s - self._heard_s >= self.timeout_keep_alive

    def _owes_body(self) -> bool:
        """Whether the client is the one to go on; not while we ourselves do not read."""
        return self.cycle is not None and self.cycle.more_body and not self.flow.read_paused


def connections(hot: HotPath | None, closed: Callable[[], None]) -> Callable[..., HttpConnection]:
    """Makes connections whose requests this hot path may take, and that call `closed` when they are over."""

    def make(**given: Any) -> HttpConnection:
        connection = HttpConnection(**given)
        connection.hot = hot
        connection.closed = closed
        return connection

    return make

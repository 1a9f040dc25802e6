"""The hot path: small inference requests answered from the connection's own callbacks, without a task, a scope or a framework.

What it takes: POST to /v2/models/…/infer or /predict…, with a Content-Length of at most HOT_BYTES and none of the headers
that mean more work (an Idempotency-Key, an encoding, a form). Whatever it does not take goes the ordinary way through the
door, and both ways share guard, plane, readers and headers, so that they cannot differ in what they answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from modeltap.api.activity import Activity
from modeltap.api.answer_headers import call_lines
from modeltap.api.asgi import Answer, Header
from modeltap.api.door import failed_answer, is_inference, named, operation_of, protocol_of
from modeltap.api.guard import Guard, key_of_authorization
from modeltap.api.request_id import request_id_of
from modeltap.api.watch import Watch, traceparent_for
from modeltap.domain.signature import Batch
from modeltap.errors import ModeltapError, StorageFailed
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.submission import ClientGone
from modeltap.telemetry.tracing import Trace

_log = logging.getLogger(__name__)

HOT_BYTES = 64 * 1024
"""Up to here a body is read on the event loop; the ordinary way reads longer ones on a thread."""


class Ready:
    """A request that was read: what the graph is asked, and how its outputs become the answer."""

    __slots__ = ("inputs", "rows", "show")

    def __init__(self, inputs: Batch, rows: int, show: Callable[[Batch], Answer]) -> None:
        self.inputs = inputs
        self.rows = rows
        self.show = show


class HotDialect(Protocol):
    """A protocol that can read a request at once."""

    def read(self, head: HotHead, body: bytes, call: Call) -> Ready | None:
        """The request, with `call` led to its version; None for one that goes the ordinary way. Raises what its plane does.
        What it finds out about the head alone it may keep in `head.kept`."""


class Exchange(Protocol):
    """One request on its connection, as the hot path sees it."""

    on_lost: Callable[[], None] | None

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """Writes the answer; `lines` are its headers, each with its end."""

    def when_flushed(self, then: Callable[[], None]) -> None: ...

    def abort(self) -> None:
        """Closes the connection without an answer."""


class HotHead:
    """The head of a request, read once. A connection may send many requests under the very same head."""

    __slots__ = ("dialect", "given_id", "kept", "operation", "path", "presented", "protocol", "seen", "tenant", "traceparent")

    def __init__(self, path: str, headers: list[Header], dialect: HotDialect) -> None:
        self.path = path
        self.dialect = dialect
        self.seen = seen = dict(reversed(headers))  # of one that comes twice the first counts, as everywhere
        self.given_id = text_of(seen.get(b"x-request-id"))
        self.presented = text_of(seen.get(b"x-api-key")) or key_of_authorization(text_of(seen.get(b"authorization")))
        self.tenant = text_of(seen.get(b"modeltap-tenant"))
        self.traceparent = text_of(seen.get(b"traceparent"))
        self.protocol = protocol_of(path)
        self.operation = operation_of("POST", path)
        self.kept: Any = None


class HotPath:
    def __init__(
        self,
        guard: Guard,
        plane: Plane,
        activity: Activity,
        watch: Watch,
        *,
        predict: HotDialect,
        inference: HotDialect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._plane = plane
        self._activity = activity
        self._watch = watch
        self._predict = predict
        self._inference = inference
        self._clock = clock
        self._answered: list[_Asked] = []
        """In this turn of the loop, and not sent yet."""

    def head(self, path: str, headers: list[Header]) -> HotHead:
        return HotHead(path, headers, self._inference if is_inference(path) else self._predict)

    def begin(self, exchange: Exchange, head: HotHead, body: bytes) -> bool:
        """Whether it takes the request; then `exchange.respond` is called once, unless the client leaves before."""
        plane = self._plane
        if plane.waits_for_disk:
            return False
        asked = _Asked(self, exchange, head, self._clock())
        try:
            principal = self._guard.principal(head.presented, tenant=head.tenant)
            asked.call = call = Call(principal, asked.request_id, started_s=asked.started_s, connection=exchange)
            ready = head.dialect.read(head, body, call)
            if ready is None:
                return False
            asked.show = ready.show
            self.count(asked)
            plane.submit(call, ready.inputs, ready.rows, asked.finish)
        except Exception as failure:  # noqa: BLE001  an edge: whatever it was, the client gets an answer
            self.count(asked)
            self.refuse(asked, named(failure, asked.request_id))
        return True

    def count(self, asked: _Asked) -> None:
        """It goes this way."""
        if not asked.is_begun:
            asked.is_begun = True
            asked.trace = self._watch.begin(asked.head.operation, asked.head.traceparent)
            self._activity.begin()

    def finish(self, asked: _Asked, outcome: Batch | BaseException) -> None:
        """The graph has answered, or why there is no answer is known."""
        call, plane = asked.call, self._plane
        assert call is not None and asked.show is not None, "it was submitted"
        if isinstance(outcome, ClientGone):
            plane.fail(call, outcome)
            self._activity.end()
            return
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            asked.answer = asked.show(outcome)
            plane.prepare(call)
        except Exception as failure:  # noqa: BLE001  an edge, as above
            self.refuse(asked, named(failure, asked.request_id))
            return
        if not self._answered:
            asyncio.get_running_loop().call_soon(self._send)
        self._answered.append(asked)

    def _send(self) -> None:
        """What was answered in this turn of the loop is on record with one write, and goes."""
        answered, self._answered = self._answered, []
        problem: ModeltapError | None = None
        try:
            self._plane.commit()
        except ModeltapError as refused:
            problem = refused
        for asked in answered:
            call, answer = asked.call, asked.answer
            assert call is not None and answer is not None
            try:
                if call.ticket.state == "settled":
                    self._respond(asked, answer, "")
                else:  # this commit failed, or one that came before it
                    self.refuse(
                        asked, problem or StorageFailed("the record of this request could not be written; try again later")
                    )
            except Exception:  # noqa: BLE001  an edge: one answer that cannot be sent must not keep the others of its turn
                _log.exception("the answer to request %s could not be sent; its connection is closed", asked.request_id)
                asked.exchange.abort()
        asyncio.get_running_loop().call_soon(self._note_deliveries, answered)

    def _note_deliveries(self, answered: list[_Asked]) -> None:
        """The system has been given what was written in the turn before."""
        for asked in answered:
            call = asked.call
            if call is not None and call.ticket is not None and call.ticket.state == "settled":
                asked.exchange.when_flushed(partial(self._plane.delivered, call))

    def refuse(self, asked: _Asked, problem: ModeltapError) -> None:
        """The answer says what was wrong."""
        if asked.call is not None:
            self._plane.fail(asked.call, problem)
        self._respond(asked, failed_answer(asked.head.path, problem), problem.code)

    def _respond(self, asked: _Asked, answer: Answer, code: str) -> None:
        total_s = self._clock() - asked.started_s
        head = asked.head
        try:
            lines = b"content-type: %b\r\n" % answer.content_type
            for line in answer.headers:
                lines += b"%b: %b\r\n" % line
            traceparent = traceparent_for(asked.trace, head.traceparent)
            lines += call_lines(self._plane, asked.call, asked.request_id, traceparent, total_s)
            asked.exchange.respond(answer.status, lines, answer.body)
        finally:
            self._activity.end()
        self._watch.end(
            operation=head.operation,
            protocol=head.protocol,
            call=asked.call,
            trace=asked.trace,
            request_id=asked.request_id,
            status=answer.status,
            code=code,
            total_s=total_s,
        )


class _Asked:
    """One request from its bytes to its answer."""

    __slots__ = ("answer", "call", "exchange", "head", "hot", "is_begun", "request_id", "show", "started_s", "trace")

    def __init__(self, hot: HotPath, exchange: Exchange, head: HotHead, started_s: float) -> None:
        self.hot = hot
        self.exchange = exchange
        self.head = head
        self.started_s = started_s
        self.request_id = request_id_of(head.given_id)
        self.call: Call | None = None
        self.show: Callable[[Batch], Answer] | None = None
        self.answer: Answer | None = None
        self.trace: Trace | None = None
        self.is_begun = False

    def finish(self, outcome: Batch | BaseException) -> None:
        self.hot.finish(self, outcome)


def text_of(value: bytes | None) -> str | None:
    """A header's value as text."""
    return None if value is None else value.decode("latin-1").strip()

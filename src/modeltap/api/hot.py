"""The hot path: small inference requests answered from the connection's own callbacks, without a task, a scope or a framework.

What it takes: POST to /v2/models/…/infer or /predict…, with a Content-Length of at most HOT_BYTES and none of the headers
that mean more work (an Idempotency-Key, an encoding, a form). Whatever it does not take goes the ordinary way through the
door, and both ways share guard, plane, readers and headers, so that they cannot differ in what they answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from modeltap.api.activity import Activity
from modeltap.api.answer_headers import call_headers
from modeltap.api.asgi import Answer, Header
from modeltap.api.door import failed_answer, is_inference, named, operation_of, protocol_of
from modeltap.api.guard import Guard, key_of_authorization
from modeltap.api.request_id import request_id_of
from modeltap.api.watch import Watch, traceparent_for
from modeltap.domain.signature import Batch
from modeltap.errors import ModeltapError
from modeltap.serving.call import Call
from modeltap.serving.plane import ClientGone, Plane
from modeltap.telemetry.tracing import Trace

HOT_BYTES = 64 * 1024
"""Up to here a body is read on the event loop; the ordinary way reads longer ones on a thread."""
OPERATION = {False: operation_of("POST", "/predict"), True: operation_of("POST", "/v2")}


@dataclass(frozen=True, slots=True)
class Ready:
    """A request that was read: what the graph is asked, and how its outputs become the answer."""

    inputs: Batch
    rows: int
    show: Callable[[Batch], Answer]


class HotDialect(Protocol):
    """A protocol that can read a request at once."""

    def read(self, path: str, headers: Mapping[bytes, bytes], body: bytes, call: Call) -> Ready | None:
        """The request, with `call` led to its version; None for one that goes the ordinary way. Raises what its plane does."""


class Exchange(Protocol):
    """One request on its connection, as the hot path sees it."""

    on_lost: Callable[[], None] | None

    def respond(self, status: int, headers: list[Header], body: bytes) -> None: ...

    def when_flushed(self, then: Callable[[], None]) -> None: ...


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

    def begin(self, exchange: Exchange, path: str, headers: list[Header], body: bytes) -> bool:
        """Whether it takes the request; then `exchange.respond` is called once, unless the client leaves before."""
        if self._plane.waits_for_disk:
            return False
        asked = _Asked(exchange, path, headers, self._clock())
        dialect = self._inference if is_inference(path) else self._predict
        try:
            seen = asked.seen
            presented = _text(seen.get(b"x-api-key")) or key_of_authorization(_text(seen.get(b"authorization")))
            principal = self._guard.principal(presented, tenant=_text(seen.get(b"modeltap-tenant")))
            asked.call = call = Call(principal, asked.request_id, started_s=asked.started_s, connection=exchange)
            ready = dialect.read(path, seen, body, call)
            if ready is None:
                return False
            self._begin(asked)
            self._plane.submit(call, ready.inputs, ready.rows, lambda outcome: self._finish(asked, call, ready, outcome))
        except Exception as failure:  # noqa: BLE001  an edge: whatever it was, the client gets an answer
            self._begin(asked)
            self._refuse(asked, named(failure, asked.request_id))
        return True

    def _begin(self, asked: _Asked) -> None:
        if not asked.is_begun:
            asked.is_begun = True
            asked.trace = self._watch.begin(OPERATION[is_inference(asked.path)], _text(asked.seen.get(b"traceparent")))
            self._activity.begin()

    def _finish(self, asked: _Asked, call: Call, ready: Ready, outcome: Batch | BaseException) -> None:
        if isinstance(outcome, ClientGone):
            self._plane.fail(call, outcome)
            self._activity.end()
            return
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            answer = ready.show(outcome)
            self._plane.settle(call)
        except Exception as failure:  # noqa: BLE001  an edge, as above
            self._refuse(asked, named(failure, asked.request_id))
            return
        self._respond(asked, answer, "")
        asked.exchange.when_flushed(lambda: self._plane.delivered(call))

    def _refuse(self, asked: _Asked, problem: ModeltapError) -> None:
        if asked.call is not None:
            self._plane.fail(asked.call, problem)
        self._respond(asked, failed_answer(asked.path, problem), problem.code)

    def _respond(self, asked: _Asked, answer: Answer, code: str) -> None:
        total_s = self._clock() - asked.started_s
        traceparent = traceparent_for(asked.trace, _text(asked.seen.get(b"traceparent")))
        lines = call_headers(self._plane, asked.call, asked.request_id, traceparent, total_s)
        asked.exchange.respond(answer.status, [(b"content-type", answer.content_type), *answer.headers, *lines], answer.body)
        self._activity.end()
        self._watch.end(
            operation=OPERATION[is_inference(asked.path)],
            protocol=protocol_of(asked.path),
            call=asked.call,
            trace=asked.trace,
            request_id=asked.request_id,
            status=answer.status,
            code=code,
            total_s=total_s,
        )


class _Asked:
    """One request from its bytes to its answer."""

    __slots__ = ("call", "exchange", "is_begun", "path", "request_id", "seen", "started_s", "trace")

    def __init__(self, exchange: Exchange, path: str, headers: list[Header], started_s: float) -> None:
        self.exchange = exchange
        self.path = path
        self.started_s = started_s
        self.seen = dict(reversed(headers))  # of one that comes twice the first counts, as everywhere
        self.request_id = request_id_of(_text(self.seen.get(b"x-request-id")))
        self.call: Call | None = None
        self.trace: Trace | None = None
        self.is_begun = False


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1").strip()

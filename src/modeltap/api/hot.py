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

from modeltap.api.activity import Activity
from modeltap.api.answer_headers import call_lines
from modeltap.api.asgi import Answer, Header
from modeltap.api.door import failed_answer, is_inference, named
from modeltap.api.guard import Guard
from modeltap.api.hot_cycle import HotCycle
from modeltap.api.hot_request import HotDialect, HotHead
from modeltap.api.watch import Watch, traceparent_for
from modeltap.domain.signature import Batch
from modeltap.errors import ModeltapError, StorageFailed
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.submission import ClientGone

_log = logging.getLogger(__name__)

HOT_BYTES = 64 * 1024
"""Up to here a body is read on the event loop; the ordinary way reads longer ones on a thread."""


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
        self._answered: list[HotCycle] = []
        """In this turn of the loop, and not sent yet."""

    def head(self, path: str, headers: list[Header]) -> HotHead:
        return HotHead(path, headers, self._inference if is_inference(path) else self._predict)

    def begin(self, cycle: HotCycle, body: bytes) -> bool:
        """Whether it takes the request; then `cycle.respond` is called once, unless the client leaves before."""
        plane, head = self._plane, cycle.head
        if plane.waits_for_disk:
            return False
        cycle.started_s = self._clock()
        try:
            principal = self._guard.principal(head.presented, tenant=head.tenant)
            cycle.call = call = Call(principal, cycle.request_id, started_s=cycle.started_s, connection=cycle)
            ready = head.dialect.read(head, body, call)
            if ready is None:
                cycle.call = None
                return False
            cycle.show = ready.show
            self._count(cycle)
            plane.submit(call, ready.inputs, ready.rows, partial(self._finish, cycle))
        except Exception as failure:  # noqa: BLE001  an edge: whatever it was, the client gets an answer
            self._count(cycle)
            self._refuse(cycle, named(failure, cycle.request_id))
        return True

    def _count(self, cycle: HotCycle) -> None:
        """It goes this way."""
        if not cycle.is_begun:
            cycle.is_begun = True
            cycle.trace = self._watch.begin(cycle.head.operation, cycle.head.traceparent)
            self._activity.begin()

    def _finish(self, cycle: HotCycle, outcome: Batch | BaseException) -> None:
        """The graph has answered, or why there is no answer is known."""
        call, plane = cycle.call, self._plane
        assert call is not None and cycle.show is not None, "it was submitted"
        if isinstance(outcome, ClientGone):
            plane.fail(call, outcome)
            self._activity.end()
            return
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            cycle.answer = cycle.show(outcome)
            plane.prepare(call)
        except Exception as failure:  # noqa: BLE001  an edge, as above
            self._refuse(cycle, named(failure, cycle.request_id))
            return
        if not self._answered:
            asyncio.get_running_loop().call_soon(self._send)
        self._answered.append(cycle)

    def _send(self) -> None:
        """What was answered in this turn of the loop is on record with one write, and goes."""
        answered, self._answered = self._answered, []
        problem: ModeltapError | None = None
        try:
            self._plane.commit()
        except ModeltapError as refused:
            problem = refused
        for cycle in answered:
            try:
                if _is_settled(cycle.call):
                    assert cycle.answer is not None
                    self._respond(cycle, cycle.answer, "")
                else:  # this commit failed, or one that came before it
                    self._refuse(
                        cycle, problem or StorageFailed("the record of this request could not be written; try again later")
                    )
            except Exception:  # noqa: BLE001  an edge: one answer that cannot be sent must not keep the others of its turn
                _log.exception("the answer to request %s could not be sent; its connection is closed", cycle.request_id)
                cycle.abort()
        asyncio.get_running_loop().call_soon(self._note_deliveries, answered)

    def _note_deliveries(self, answered: list[HotCycle]) -> None:
        """The system has been given what was written in the turn before."""
        for cycle in answered:
            call = cycle.call
            if call is None or not _is_settled(call):
                continue
            if cycle.is_handed_over():
                self._plane.delivered(call)
            else:
                cycle.when_flushed(partial(self._plane.delivered, call))

    def _refuse(self, cycle: HotCycle, problem: ModeltapError) -> None:
        """The answer says what was wrong."""
        if cycle.call is not None:
            self._plane.fail(cycle.call, problem)
        self._respond(cycle, failed_answer(cycle.head.path, problem), problem.code)
        cycle.call = None  # the two would hold each other in memory

    def _respond(self, cycle: HotCycle, answer: Answer, code: str) -> None:
        total_s = self._clock() - cycle.started_s
        head = cycle.head
        try:
            lines = b"content-type: " + answer.content_type + b"\r\n"
            for name, value in answer.headers:
                lines += name + b": " + value + b"\r\n"
            traceparent = traceparent_for(cycle.trace, head.traceparent)
            lines += call_lines(self._plane, cycle.call, cycle.request_id, traceparent, total_s)
            cycle.respond(answer.status, lines, answer.body)
        finally:
            self._activity.end()
        self._watch.end(
            operation=head.operation,
            protocol=head.protocol,
            call=cycle.call,
            trace=cycle.trace,
            request_id=cycle.request_id,
            status=answer.status,
            code=code,
            total_s=total_s,
        )


def _is_settled(call: Call | None) -> bool:
    return call is not None and call.ticket is not None and call.ticket.state == "settled"

"""The data plane's HTTP door: caller → protocol → settled → headers → sent → marked as delivered.

What a protocol's plane returns is settled here and only then sent; what it raises becomes that protocol's error body.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from modeltap.api.answer_headers import call_headers
from modeltap.api.asgi import Answer, Receive, Scope, Send, header, send_answer
from modeltap.api.guard import ACTING_HEADER, NO_KEY, OPEN_PATHS, Guard, presented_key
from modeltap.api.priority import PRIORITY_HEADER, priority_of
from modeltap.api.problems import UNKNOWN, inference_problem, problem_answer
from modeltap.api.replays import Replays
from modeltap.api.request_id import request_id_of
from modeltap.api.watch import Watch, traceparent_for
from modeltap.domain.tenant import ANONYMOUS, ANONYMOUS_KEY_ID
from modeltap.errors import Broken, ModeltapError, Unauthenticated
from modeltap.serving.call import Call
from modeltap.serving.plane import ClientGone, Plane

_log = logging.getLogger(__name__)
ALL_STATISTICS = "/v2/models/stats"
METHODS = frozenset({"GET", "HEAD", "POST"})


class Dialect(Protocol):
    """One protocol of the data plane."""

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer: ...


class Door:
    """Knows which dialect a path belongs to, and what every answer of the data plane has in common."""

    def __init__(
        self,
        guard: Guard,
        plane: Plane,
        replays: Replays,
        watch: Watch,
        *,
        predict: Dialect,
        inference: Dialect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._plane = plane
        self._replays = replays
        self._watch = watch
        self._predict = predict
        self._inference = inference
        self._clock = clock

    def takes(self, path: str) -> bool:
        """Whether the path is the data plane's."""
        return is_inference(path) or is_predict(path)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, whatever happens; raises only what ends the request's task."""
        path: str = scope["path"]
        started_s = self._clock()
        request_id = request_id_of(header(scope, b"x-request-id"))
        given = header(scope, b"traceparent")
        operation = operation_of(scope["method"], path)
        trace = self._watch.begin(operation, given)
        call: Call | None = None
        code = ""
        try:
            call = self._open(scope, request_id, started_s)
            answer = await self._answer(scope, receive, call)
        except asyncio.CancelledError:
            self._failed(path, call, ClientGone("the request was cancelled"))
            raise
        except Exception as failure:  # noqa: BLE001  an edge: whatever it was, the client gets an answer
            problem = named(failure, request_id)
            code = problem.code
            answer = self._failed(path, call, problem)
        total_s = self._clock() - started_s
        answer.headers += call_headers(self._plane, call, request_id, traceparent_for(trace, given), total_s)
        await send_answer(send, answer)
        if call is not None and call.ticket is not None:
            self._mark(scope, call)
        self._watch.end(
            operation=operation,
            protocol=protocol_of(path),
            call=call,
            trace=trace,
            request_id=request_id,
            status=answer.status,
            code=code,
            total_s=total_s,
        )

    async def _answer(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        dialect = self._inference if is_inference(scope["path"]) else self._predict
        idempotency_key = header(scope, b"idempotency-key")
        if idempotency_key is not None and scope["method"] == "POST" and call.principal.key != ANONYMOUS_KEY_ID:
            return await self._replays.answer(scope, receive, call, idempotency_key, dialect.answer)
        answer = await dialect.answer(scope, receive, call)
        self._plane.settle(call)
        if self._plane.waits_for_disk:
            await self._plane.on_disk()
        return answer

    def _open(self, scope: Scope, request_id: str, started_s: float) -> Call:
        path = scope["path"]
        principal = ANONYMOUS
        if path not in OPEN_PATHS:  # whose callers are not asked for a key, nor whether the one they sent is good
            principal = self._guard.principal(
                presented_key(scope), tenant=header(scope, b"modeltap-tenant"), acting_key=header(scope, ACTING_HEADER)
            )
            if principal.key == ANONYMOUS_KEY_ID and not may_be_public(path):
                raise Unauthenticated(NO_KEY)
        return Call(
            principal,
            request_id,
            started_s=started_s,
            connection=scope.get("modeltap.connection"),
            priority=priority_of(header(scope, PRIORITY_HEADER)),
        )

    def _failed(self, path: str, call: Call | None, problem: ModeltapError) -> Answer:
        if call is not None:
            self._plane.fail(call, problem)
        return failed_answer(path, problem)

    def _mark(self, scope: Scope, call: Call) -> None:
        """Notes the delivery once the system has every byte; never, if the connection is lost before."""
        connection = scope.get("modeltap.connection")
        if connection is None:
            self._plane.delivered(call)
        else:
            connection.when_flushed(lambda: self._plane.delivered(call))


def is_inference(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")


def is_predict(path: str) -> bool:
    """/predict and its aliases: KServe's V1 protocol, and the convention of SageMaker and MLflow."""
    return (
        path == "/predict"
        or path.startswith("/predict/")
        or path == "/invocations"
        or (path.startswith("/v1/models/") and path.endswith(":predict"))
    )


def may_be_public(path: str) -> bool:
    """Whether a public deployment may answer there without a key."""
    return is_predict(path) or (path.startswith("/v2/models/") and path != ALL_STATISTICS)


def failed_answer(path: str, problem: ModeltapError) -> Answer:
    """The error as the path's dialect says it."""
    return inference_problem(problem) if is_inference(path) else problem_answer(problem, path)


def named(failure: Exception, request_id: str) -> ModeltapError:
    """The failure itself if it has a name; else one that says nothing of the inside, which goes to the log."""
    if isinstance(failure, ModeltapError):
        return failure
    _log.error("request %s failed", request_id, exc_info=failure)
    return Broken(UNKNOWN["detail"])


def protocol_of(path: str) -> str:
    return "inference" if is_inference(path) else "predict"


def operation_of(method: str, path: str) -> str:
    """One of few, without names in it."""
    return f"{method if method in METHODS else 'OTHER'} {'/v2' if is_inference(path) else '/predict'}"

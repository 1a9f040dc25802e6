"""The data plane's HTTP door: caller → protocol → settled → headers → sent → marked as delivered.

What a protocol's plane returns is settled here and only then sent; what it raises becomes that protocol's error body. A
stream of OpenAI's protocol settles itself before its last event; one that is broken off is charged what was handed on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from modeltap.api.answer_headers import call_headers
from modeltap.api.asgi import Answer, Receive, Scope, Send, header, send_answer
from modeltap.api.event_sending import send_events
from modeltap.api.guard import ACTING_HEADER, NO_KEY, OPEN_PATHS, Guard, presented_key
from modeltap.api.openai.dispatch import Dispatch, Handler, family_of, is_openai
from modeltap.api.openai.events import EventStream
from modeltap.api.openai.problems import openai_problem
from modeltap.api.priority import PRIORITY_HEADER, priority_of
from modeltap.api.problems import UNKNOWN, inference_problem, problem_answer
from modeltap.api.replays import Replays
from modeltap.api.request_id import request_id_of
from modeltap.api.watch import Watch, traceparent_for
from modeltap.domain.tenant import ANONYMOUS, ANONYMOUS_KEY_ID
from modeltap.errors import Broken, DeadlinePassed, ModeltapError, Unauthenticated
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.submission import ClientGone

_log = logging.getLogger(__name__)
ALL_STATISTICS = "/v2/models/stats"
METHODS = frozenset({"DELETE", "GET", "HEAD", "POST"})


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
        explain: Dialect,
        inference: Dialect,
        openai: Dispatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._plane = plane
        self._replays = replays
        self._watch = watch
        self._predict = predict
        self._explain = explain
        self._inference = inference
        self._openai = openai
        self._clock = clock

    def takes(self, path: str) -> bool:
        """Whether the path is the data plane's."""
        return is_inference(path) or is_predict(path) or is_explain(path) or is_openai(path)

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
        headers = call_headers(self._plane, call, request_id, traceparent_for(trace, given), total_s)
        is_whole = True
        if isinstance(answer, EventStream):
            assert call is not None
            broken = await send_events(send, answer, headers, self._plane, call)
            is_whole, code = broken is None, "" if broken is None else broken.code
            total_s = self._clock() - started_s
        else:
            answer.headers += headers
            await send_answer(send, answer)
        if call is not None and call.ticket is not None and is_whole:
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

    async def _answer(self, scope: Scope, receive: Receive, call: Call) -> Answer | EventStream:
        method, path = scope["method"], scope["path"]
        if is_openai(path):
            answer_with, may_repeat = self._openai.answer, self._openai.is_metered(method, path)
        else:
            dialect = self._inference if is_inference(path) else self._explain if is_explain(path) else self._predict
            answer_with, may_repeat = dialect.answer, True
        idempotency_key = header(scope, b"idempotency-key")
        if idempotency_key is not None and method == "POST" and may_repeat and call.principal.key != ANONYMOUS_KEY_ID:
            return await self._replays.answer(scope, receive, call, idempotency_key, whole(answer_with))
        answer = await answer_with(scope, receive, call)
        if isinstance(answer, EventStream):
            return answer
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
            is_public = self._openai.is_metered(scope["method"], path) if is_openai(path) else may_be_public(path)
            if principal.key == ANONYMOUS_KEY_ID and not is_public:
                raise Unauthenticated(NO_KEY)
        return Call(
            principal,
            request_id,
            started_s=started_s,
            connection=scope.get("modeltap.caller"),
            priority=priority_of(header(scope, PRIORITY_HEADER)),
        )

    def _failed(self, path: str, call: Call | None, problem: ModeltapError) -> Answer:
        if call is not None and not _was_charged(call, problem):
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


def is_explain(path: str) -> bool:
    """/explain, and the alias of KServe's V1 protocol."""
    return path == "/explain" or path.startswith("/explain/") or (path.startswith("/v1/models/") and path.endswith(":explain"))


def may_be_public(path: str) -> bool:
    """Whether a public deployment may answer there without a key."""
    return is_predict(path) or is_explain(path) or (path.startswith("/v2/models/") and path != ALL_STATISTICS)


def failed_answer(path: str, problem: ModeltapError) -> Answer:
    """The error as the path's dialect says it."""
    if is_openai(path):
        return openai_problem(problem)
    return inference_problem(problem) if is_inference(path) else problem_answer(problem, path)


def whole(answer_with: Handler) -> Callable[[Scope, Receive, Call], Awaitable[Answer]]:
    """The same for a request that may be repeated: handlers refuse to stream the answer to one, which is kept whole."""

    async def answered(scope: Scope, receive: Receive, call: Call) -> Answer:
        answer = await answer_with(scope, receive, call)
        assert isinstance(answer, Answer), "a request with an Idempotency-Key is not streamed"
        return answer

    return answered


def _was_charged(call: Call, problem: ModeltapError) -> bool:
    """Whether it was stopped and settled at what ran until then: the answer that says so also tells what that cost."""
    return isinstance(problem, DeadlinePassed) and call.ticket is not None and call.ticket.state == "settled"


def named(failure: Exception, request_id: str) -> ModeltapError:
    """The failure itself if it has a name; else one that says nothing of the inside, which goes to the log.

    It forgets where it came from: who catches it holds it, and it would hold whom it passed on its way, with the request's
    body, in a circle that is found late.
    """
    if isinstance(failure, ModeltapError):
        return failure.with_traceback(None)
    _log.error("request %s failed", request_id, exc_info=failure)
    return Broken(UNKNOWN["detail"])


def protocol_of(path: str) -> str:
    if is_openai(path):
        return "openai"
    return "inference" if is_inference(path) else "explain" if is_explain(path) else "predict"


def operation_of(method: str, path: str) -> str:
    """One of few, without names in it."""
    where = family_of(path) if is_openai(path) else "/v2" if is_inference(path) else f"/{protocol_of(path)}"
    return f"{method if method in METHODS else 'OTHER'} {where}"

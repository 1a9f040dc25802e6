"""The whole application: request id and caller for every path, the data plane in raw ASGI, the rest through FastAPI."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from modeltap.api.activity import Activity
from modeltap.api.asgi import Answer, ASGIApp, Message, Receive, Scope, Send, header, json_answer, send_answer
from modeltap.api.body import limited
from modeltap.api.door import Door
from modeltap.api.guard import NO_KEY, OPEN_PATHS, Guard, presented_key
from modeltap.api.problems import problem_answer, unexpected_answer
from modeltap.api.request_id import request_id_of
from modeltap.domain.tenant import ANONYMOUS_KEY_ID, Principal
from modeltap.errors import Forbidden, MethodNotAllowed, ModeltapError, Unauthenticated
from modeltap.telemetry.scrape import CONTENT_TYPE

_log = logging.getLogger(__name__)
UPLOAD_PATHS = frozenset({"/api/batches", "/api/datasets", "/api/models/import"})
"""Take bodies of any size, and count them themselves."""
METRICS_PATH = "/metrics"
LIVE_PATHS = frozenset({"/livez", "/healthz", "/health", "/ping"})
TENANT_HEADER = b"modeltap-tenant"


class App:
    """One ASGI application. Every answer has an `x-request-id`: the client's own, if it is a sane one."""

    def __init__(
        self,
        *,
        guard: Guard,
        door: Door,
        control: ASGIApp,
        activity: Activity,
        max_body_bytes: int,
        metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        """`metrics` gives the numbers of all processes as Prometheus text."""
        self._guard = guard
        self._door = door
        self._control = control
        self._activity = activity
        self._max_body_bytes = max_body_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._control(scope, receive, send)
            return
        path = scope["path"]
        if path in LIVE_PATHS or path == "/readyz":
            given = request_id_of(header(scope, b"x-request-id"))
            what = "ready" if path == "/readyz" else "live"
            await send_answer(send, json_answer({what: True}, headers=[(b"x-request-id", given.encode())]))
            return
        self._activity.begin()
        try:
            if self._door.takes(path):
                await self._door.answer(scope, receive, send)
            else:
                await self._control_answer(scope, receive, send)
        finally:
            self._activity.end()

    async def _control_answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(header(scope, b"x-request-id"))
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        path = scope["path"]
        answer: Answer | None = None
        try:
            scope["modeltap.principal"] = self._caller(scope)
            if path == METRICS_PATH:
                answer = await self._numbers(scope)
                await send_answer(send_marked, answer)
                return
            if path not in UPLOAD_PATHS and scope["method"] not in ("GET", "HEAD"):
                receive = await limited(scope, receive, limit_bytes=self._max_body_bytes)
            await self._control(scope, receive, send_marked)
        except ModeltapError as problem:
            answer = problem_answer(problem, path)
        except Exception:
            _log.exception("request %s failed", request_id)
            if started:
                raise
            answer = unexpected_answer(path)
        if answer is not None:
            await send_answer(send_marked, answer)

    async def _numbers(self, scope: Scope) -> Answer:
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{METRICS_PATH} takes GET, given was {scope['method']}", allowed=("GET", "HEAD"))
        if not scope["modeltap.principal"].is_root:
            raise Forbidden("the numbers are of all tenants; they take the key in admin.key in the server's home")
        return Answer(200, await self._metrics(), CONTENT_TYPE)

    def _caller(self, scope: Scope) -> Principal:
        principal = self._guard.principal(presented_key(scope), tenant=header(scope, TENANT_HEADER))
        if principal.key == ANONYMOUS_KEY_ID and scope["path"] not in OPEN_PATHS:
            raise Unauthenticated(NO_KEY)
        return principal

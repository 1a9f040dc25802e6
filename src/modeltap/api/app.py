"""The whole application: guard and request id for every path, the data plane in raw ASGI, the rest through FastAPI."""

from __future__ import annotations

import logging
import re
import secrets
import time

from modeltap.api.asgi import Answer, ASGIApp, Message, Receive, Scope, Send, header, json_answer, send_answer
from modeltap.api.body import limited
from modeltap.api.guard import Guard
from modeltap.api.inference import InferencePlane
from modeltap.api.predict import PredictPlane
from modeltap.api.problems import UNKNOWN, inference_problem, problem_answer, unexpected_answer
from modeltap.errors import ModeltapError

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
UPLOAD_PATH = "/api/datasets"
"""Takes bodies of any size, and counts them itself."""
LIVE_PATHS = frozenset({"/livez", "/healthz", "/health", "/ping"})


class Activity:
    """When the server was last used: what a server started in the background ends by."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.last_used_s = time.monotonic()

    def begin(self) -> None:
        self.in_flight += 1
        self.last_used_s = time.monotonic()

    def end(self) -> None:
        self.in_flight -= 1
        self.last_used_s = time.monotonic()


class App:
    """One ASGI application. Every answer has an `x-request-id`: the client's own, if it is a sane one."""

    def __init__(
        self,
        *,
        guard: Guard,
        predict: PredictPlane,
        inference: InferencePlane,
        control: ASGIApp,
        activity: Activity,
        max_body_bytes: int,
    ) -> None:
        self._guard = guard
        self._predict = predict
        self._inference = inference
        self._control = control
        self._activity = activity
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._control(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        request_id = given if given and _REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        path = scope["path"]
        counted = path not in LIVE_PATHS and path != "/readyz"
        if counted:
            self._activity.begin()
        try:
            answer = await self._answer(scope, receive, send_marked, request_id)
        except ModeltapError as problem:
            answer = inference_problem(problem) if _is_inference(path) else problem_answer(problem, path)
        except Exception:
            _log.exception("request %s failed", request_id)
            if started:
                raise
            answer = inference_problem(ModeltapError(UNKNOWN["detail"])) if _is_inference(path) else unexpected_answer(path)
        finally:
            if counted:
                self._activity.end()
        if answer is not None:
            await send_answer(send_marked, answer)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> Answer | None:
        """The answer, or None if it was sent already."""
        path = scope["path"]
        self._guard.check(scope)
        if path in LIVE_PATHS:
            return json_answer({"live": True})
        if path == "/readyz":
            return json_answer({"ready": True})
        if path == "/predict" or path.startswith("/predict/"):
            return await self._predict.answer(scope, receive, request_id)
        if _is_inference(path):
            return await self._inference.answer(scope, receive)
        if path != UPLOAD_PATH and scope["method"] not in ("GET", "HEAD"):
            receive = await limited(scope, receive, limit_bytes=self._max_body_bytes)
        await self._control(scope, receive, send)
        return None


def _is_inference(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")

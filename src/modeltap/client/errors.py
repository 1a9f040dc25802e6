"""What a call can raise: modeltap's own named errors by their code, and the few that only a client can have.

ModeltapError
├── the classes of modeltap.errors     by the `code` of the answer, or of a failed job's `error`
│   ├── RateLimited, BudgetSpent       … with `limit`, the one that was reached, and `retry_after_s`; None: waiting is no use
│   └── Unavailable                    … with `retry_after_s`
├── ApiError                           an answer whose code this client does not know; it has `status`
├── Unavailable ── ConnectionFailed    there was no answer at all
└── Conflict ── JobStopped             a job that was waited for was paused or cancelled

Every error that an answer told of has its `request_id`, by which the server's log and usage records know the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modeltap.errors import Conflict, LimitReached, MethodNotAllowed, ModeltapError, Unavailable

USUAL_WAIT_S = 1.0
"""For what is not available now, where the server names no time."""
OPENAI_CODES = {"invalid_api_key": "unauthenticated"}
"""Codes that OpenAI's protocol has other words for."""
STATUS_CODES = {
    400: "invalid_input",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    503: "unavailable",
}
"""What a status says where an error in OpenAI's words has no code."""


class ApiError(ModeltapError):
    """The server refused, for a reason that has no class here. `status` is the HTTP status, 0 for a job's error."""

    code = "api_error"
    title = "The server refused"

    def __init__(self, message: str, *, fields: tuple[tuple[str, str], ...] = (), status: int = 0, code: str = "") -> None:
        super().__init__(message, fields=fields)
        self.status = status
        self.server_code = code

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "code": self.server_code or self.code}


class ConnectionFailed(Unavailable):
    """No answer came: no server there, or the connection broke."""

    code = "connection_failed"
    title = "The server does not answer"


class JobStopped(Conflict):
    """The job that was waited for did not end by itself; `modeltap jobs resume` lets it go on."""

    code = "job_stopped"
    title = "The job was stopped"

    def __init__(self, message: str, *, job: str, state: str) -> None:
        super().__init__(message)
        self.job = job
        self.state = state


def error_from(
    facts: Mapping[str, Any], *, status: int = 0, request_id: str | None = None, retry_after_s: float | None = None
) -> ModeltapError:
    """The named error that {"code", "title", "detail", "errors"?} tells of; ApiError where the code is unknown.

    retry_after_s: what the headers of the answer said, used where the facts say nothing.
    """
    code = str(facts.get("code") or "")
    message = str(facts.get("detail") or facts.get("title") or "the server gave no reason")
    fields = tuple((str(e.get("field", "")), str(e.get("detail", ""))) for e in facts.get("errors") or ())
    kind = BY_CODE.get(code)
    if kind is None:
        unknown = ApiError(message, fields=fields, status=status, code=code)
        unknown.request_id = request_id
        return unknown
    error = kind.__new__(kind)
    ModeltapError.__init__(error, message, fields=fields)  # some classes word their own message from facts
    error.request_id = request_id
    told_s = facts.get("retry_after_s")
    wait_s = float(told_s) if isinstance(told_s, (int, float)) else retry_after_s
    if isinstance(error, LimitReached):
        error.limit, error.retry_after_s = str(facts.get("limit") or ""), wait_s
    elif isinstance(error, Unavailable):
        error.retry_after_s = USUAL_WAIT_S if wait_s is None else wait_s
    elif isinstance(error, MethodNotAllowed):
        error.allowed = ()
    return error


def facts_of_openai(error: Mapping[str, Any], *, status: int = 0) -> dict[str, Any]:
    """The facts for `error_from` of what stands under "error" in an answer of /v1."""
    given = str(error.get("code") or "")
    code = OPENAI_CODES.get(given, given)
    if code not in BY_CODE:
        code = STATUS_CODES.get(status, code)
    message, param = error.get("message"), error.get("param")
    return {"code": code, "detail": message, "errors": [{"field": param, "detail": message}] if param else []}


def _named(parent: type[ModeltapError]) -> Iterator[type[ModeltapError]]:
    for kind in parent.__subclasses__():
        if kind.__module__ == ModeltapError.__module__:
            if "code" in vars(kind):
                yield kind
            yield from _named(kind)


BY_CODE: dict[str, type[ModeltapError]] = {kind.code: kind for kind in _named(ModeltapError)}

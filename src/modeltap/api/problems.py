"""The one table from errors to status codes, and each dialect's body for them."""

from __future__ import annotations

import math
from typing import Any

from modeltap.api.asgi import Answer, Header, json_answer
from modeltap.errors import (
    Broken,
    CannotCompress,
    Conflict,
    DeadlinePassed,
    InvalidData,
    InvalidInput,
    InvalidRecipe,
    InvalidValue,
    LimitReached,
    MethodNotAllowed,
    MissingExtra,
    ModeltapError,
    NotFound,
    Refused,
    StorageFailed,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)

STATUS: dict[type[ModeltapError], int] = {
    InvalidInput: 400,
    InvalidValue: 422,
    InvalidRecipe: 422,
    InvalidData: 422,
    CannotCompress: 422,
    TooLarge: 413,
    UnsupportedMedia: 415,
    MethodNotAllowed: 405,
    NotFound: 404,
    Conflict: 409,
    Unauthenticated: 401,
    Refused: 403,
    LimitReached: 429,
    Unavailable: 503,
    DeadlinePassed: 504,
    MissingExtra: 501,
    StorageFailed: 507,
    Broken: 500,
    ModeltapError: 500,
}
"""A class that is not listed has the status of its nearest parent."""

MAX_RETRY_S = 120.0
"""Clients do not wait longer."""
PROBLEM = b"application/problem+json"
UNKNOWN = {"code": "internal", "title": "An unexpected failure", "detail": "the server failed; its log has the reason"}


def status_of(problem: ModeltapError) -> int:
    return next(STATUS[cls] for cls in type(problem).__mro__ if cls in STATUS)


def status_of_code(code: str) -> int:
    """The status of an error that is known by its code alone, as a job keeps it; 500 for an unknown one."""
    found = next((cls for cls in _family(ModeltapError) if cls.code == code), ModeltapError)
    return next(STATUS[cls] for cls in found.__mro__ if cls in STATUS)


def _family(cls: type[ModeltapError]) -> list[type[ModeltapError]]:
    return [cls, *(member for child in cls.__subclasses__() for member in _family(child))]


def problem_answer(problem: ModeltapError, path: str) -> Answer:
    """RFC 9457 problem+json, for the plain dialect and the control API."""
    return facts_answer(problem.facts(), status_of(problem), path, problem_headers(problem))


def facts_answer(facts: dict[str, Any], status: int, path: str, headers: list[Header] | None = None) -> Answer:
    """The same from an error's facts, as a job keeps them."""
    body = {"type": f"urn:modeltap:{facts['code']}", "status": status, "instance": path, **facts}
    answer = json_answer(body, status=status, headers=headers or [])
    answer.content_type = PROBLEM
    return answer


def inference_problem(problem: ModeltapError) -> Answer:
    """The Open Inference Protocol's body: one plain text. What does not fit a signature is a 400 there."""
    status = status_of(problem)
    return json_answer({"error": problem.message}, status=400 if status == 422 else status, headers=problem_headers(problem))


def unexpected_answer(path: str) -> Answer:
    """A failure nobody named; it says nothing of the inside."""
    return facts_answer(UNKNOWN, 500, path)


def problem_headers(problem: ModeltapError) -> list[Header]:
    if isinstance(problem, Unavailable | LimitReached):
        return _retry(problem)
    if isinstance(problem, Unauthenticated):
        return [(b"www-authenticate", b'Bearer realm="modeltap", Basic realm="modeltap"')]
    if isinstance(problem, MethodNotAllowed):
        return [(b"allow", ", ".join(problem.allowed).encode())]
    return []


def _retry(problem: Unavailable | LimitReached) -> list[Header]:
    """When to come back, as seconds and as OpenAI's clients read it; that it is no use where waiting would be long or vain."""
    wait_s = problem.retry_after_s
    if wait_s is None or wait_s > MAX_RETRY_S:
        return [(b"x-should-retry", b"false")]
    return [(b"retry-after", b"%d" % max(1, math.ceil(wait_s))), (b"retry-after-ms", b"%d" % max(1, math.ceil(wait_s * 1000)))]

"""Errors in OpenAI's words: {"error": {"message", "type", "param", "code"}}, all four always there."""

from __future__ import annotations

from typing import Any

from modeltap.api.asgi import Answer, json_answer
from modeltap.api.problems import problem_headers, status_of
from modeltap.errors import (
    BudgetSpent,
    Conflict,
    ContextTooLong,
    Forbidden,
    InvalidInput,
    LimitReached,
    ModeltapError,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
)

KIND: dict[type[ModeltapError], tuple[str, str | None]] = {
    InvalidInput: ("invalid_request_error", None),
    NotFound: ("invalid_request_error", None),
    Conflict: ("conflict", None),
    Unauthenticated: ("authentication_error", "invalid_api_key"),
    Refused: ("permission_error", None),
    BudgetSpent: ("insufficient_quota", "insufficient_quota"),
    LimitReached: ("rate_limit_error", "rate_limit_exceeded"),
    Unavailable: ("service_unavailable_error", None),
    ModeltapError: ("server_error", None),
}
"""Class → type and code; one that is not listed has those of its nearest parent, and instead of None its own code."""

PLAIN = frozenset({InvalidInput.code, NotFound.code, Conflict.code, Refused.code, Forbidden.code, Unavailable.code})
"""Codes that say no more than the type does."""


def refused(param: str, message: str) -> InvalidInput:
    """The 400 that names the field that was wrong."""
    return InvalidInput(message, fields=[(param, message)])


def too_long(param: str, given: str, context_tokens: int, *, what: str = "the prompt") -> ContextTooLong:
    """The 400 of a full context; LiteLLM and LangChain know it by these words of the message, not by its code."""
    message = f"{what} is too long: this model's maximum context length is {context_tokens} tokens, and {given}"
    return ContextTooLong(message, fields=[(param, "does not fit into the context")])


def error_object(problem: ModeltapError) -> dict[str, Any]:
    """What stands under "error", in a body and inside a stream."""
    kind, code = next(KIND[cls] for cls in type(problem).__mro__ if cls in KIND)
    if code is None and problem.code not in PLAIN:
        code = problem.code
    if code is None and problem.fields:
        code = "invalid_value"
    return {"message": problem.message, "type": kind, "param": problem.fields[0][0] if problem.fields else None, "code": code}


def openai_problem(problem: ModeltapError) -> Answer:
    """The whole answer; what does not fit a schema is a 400 here."""
    status = status_of(problem)
    headers = problem_headers(problem)
    if isinstance(problem, BudgetSpent):
        headers = [(b"x-should-retry", b"false")]
    return json_answer({"error": error_object(problem)}, status=400 if status == 422 else status, headers=headers)

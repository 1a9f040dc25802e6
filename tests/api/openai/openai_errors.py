"""Our errors, and what OpenAI's clients read of each: status, type, code."""

from __future__ import annotations

from modeltap.errors import (
    Broken,
    BudgetSpent,
    Conflict,
    ContextTooLong,
    Forbidden,
    InvalidInput,
    InvalidValue,
    Loading,
    ModelNotAllowed,
    ModelNotFound,
    ModeltapError,
    NotFound,
    Overloaded,
    RateLimited,
    ReplicaLost,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

KINDS: list[tuple[ModeltapError, int, str, str | None]] = [
    (InvalidInput("x"), 400, "invalid_request_error", None),
    (InvalidInput("x", fields=[("n", "x")]), 400, "invalid_request_error", "invalid_value"),
    (InvalidValue("x"), 400, "invalid_request_error", "invalid_value"),
    (ContextTooLong("x"), 400, "invalid_request_error", "context_length_exceeded"),
    (TooLarge(given_bytes=2, limit_bytes=1), 413, "invalid_request_error", "too_large"),
    (Unauthenticated("x"), 401, "authentication_error", "invalid_api_key"),
    (Forbidden("x"), 403, "permission_error", None),
    (ModelNotAllowed("x"), 403, "permission_error", "model_not_allowed"),
    (NotFound("x"), 404, "invalid_request_error", None),
    (ModelNotFound("x"), 404, "invalid_request_error", "model_not_found"),
    (Conflict("x"), 409, "conflict", None),
    (RateLimited("x", limit="rpm", retry_after_s=1.5), 429, "rate_limit_error", "rate_limit_exceeded"),
    (BudgetSpent("x", limit="day", retry_after_s=1.5), 429, "insufficient_quota", "insufficient_quota"),
    (Unavailable("x", retry_after_s=1.5), 503, "service_unavailable_error", None),
    (Loading("x", retry_after_s=1.5), 503, "service_unavailable_error", "model_loading"),
    (Overloaded("x", retry_after_s=1.5), 503, "service_unavailable_error", "server_is_overloaded"),
    (ReplicaLost("x", retry_after_s=1.5), 503, "service_unavailable_error", "replica_lost"),
    (Broken("x"), 500, "server_error", "broken"),
]

"""The one table from errors to gRPC's status codes, and how an error says when to come back."""

from __future__ import annotations

import math
from typing import Any

from modeltap.errors import (
    Broken,
    Conflict,
    InvalidInput,
    LimitReached,
    MissingExtra,
    ModeltapError,
    NotFound,
    Overloaded,
    Refused,
    StorageFailed,
    Unauthenticated,
    Unavailable,
)
from modeltap.serving.submission import ClientGone

STATUS: dict[type[ModeltapError], str] = {
    InvalidInput: "INVALID_ARGUMENT",
    NotFound: "NOT_FOUND",
    Conflict: "FAILED_PRECONDITION",
    Unauthenticated: "UNAUTHENTICATED",
    Refused: "PERMISSION_DENIED",
    LimitReached: "RESOURCE_EXHAUSTED",
    ClientGone: "CANCELLED",
    Unavailable: "UNAVAILABLE",
    MissingExtra: "UNIMPLEMENTED",
    StorageFailed: "UNAVAILABLE",
    Broken: "INTERNAL",
    ModeltapError: "INTERNAL",
}
"""A class that is not listed has the status of its nearest parent."""

TOO_LATE = "DEADLINE_EXCEEDED"
"""Of a request that is refused at the door, as its answer would come after the client's own deadline."""
DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"
"""What gRPC's own retries wait for; a negative one ends them."""

Metadata = tuple[tuple[str, str | bytes], ...]


def status_name(problem: ModeltapError, *, has_deadline: bool = False) -> str:
    """The name of the status, as in grpc.StatusCode. `has_deadline`: the client said until when it waits."""
    if has_deadline and isinstance(problem, Overloaded):
        return TOO_LATE
    return next(STATUS[cls] for cls in type(problem).__mro__ if cls in STATUS)


def retry_metadata(problem: ModeltapError, status: int) -> Metadata:
    """When the same request may succeed, three times over: for gRPC's retries, as google.rpc.RetryInfo, and as over HTTP."""
    if not isinstance(problem, Unavailable | LimitReached):
        return ()
    wait_s = problem.retry_after_s
    if wait_s is None:
        return ((PUSHBACK, "-1"),)
    wait_ms = max(1, math.ceil(wait_s * 1000))
    return (
        (PUSHBACK, str(wait_ms)),
        ("retry-after-ms", str(wait_ms)),
        (DETAILS, _details(problem, status, wait_ms)),
    )


def _details(problem: ModeltapError, status: int, wait_ms: int) -> bytes:
    from modeltap.api.grpc_messages import RETRY_INFO_URL, message_class

    seconds, milliseconds = divmod(wait_ms, 1000)
    info = message_class("RetryInfo", "google.rpc")()
    info.retry_delay.seconds, info.retry_delay.nanos = seconds, milliseconds * 1_000_000
    told: Any = message_class("Status", "google.rpc")(code=status, message=problem.message)
    told.details.add(type_url=RETRY_INFO_URL, value=info.SerializeToString())
    encoded: bytes = told.SerializeToString()
    return encoded

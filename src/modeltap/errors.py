"""Named failures, grouped by what the caller can do about them.

ModeltapError
├── InvalidInput        what was given is wrong; change it           InvalidValue, InvalidRecipe, ContextTooLong, …
├── NotFound            there is no such thing; name another
├── Conflict            it exists, is in use, or is in the wrong state
├── Refused             not allowed here                             Unauthenticated, Forbidden, UnsafeBind
├── LimitReached        used up what may be used; wait or ask for more   RateLimited, BudgetSpent
├── Unavailable         not now; try again                           Loading, Overloaded, ReplicaLost
└── Broken              this installation cannot do it               MissingExtra, StorageFailed, DatabaseTooNew

An error carries facts; its message says what was given, what is allowed and what to do. No HTTP code stands here:
`api/problems.py` is the one table that turns a class into a status.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar


class ModeltapError(Exception):
    """Root of every named failure. `code` names the rule in wire bodies; `fields` lists what is wrong where."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Something failed"
    request_id: str | None = None
    """Of the answer that told of it, where a client raised it."""

    def __init__(self, message: str, *, fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.fields = tuple(fields)

    def facts(self) -> dict[str, Any]:
        """A JSON-ready description: code, title, detail and, where known, the fields that are wrong."""
        body: dict[str, Any] = {"code": self.code, "title": self.title, "detail": self.message}
        if self.fields:
            body["errors"] = [{"field": where, "detail": what} for where, what in self.fields]
        return body


class InvalidInput(ModeltapError):
    code = "invalid_input"
    title = "The request is not valid"


class InvalidValue(InvalidInput):
    """A cell, row or tensor does not fit the schema."""

    code = "invalid_value"
    title = "A value does not fit the schema"


class InvalidRecipe(InvalidInput):
    code = "invalid_recipe"
    title = "The recipe is not valid"


class InvalidData(InvalidInput):
    """A file cannot be read as a dataset, or a dataset cannot be used for the task."""

    code = "invalid_data"
    title = "The data cannot be used"


class CannotCompress(InvalidInput):
    """The version cannot be made smaller in the way that was asked for."""

    code = "cannot_compress"
    title = "The version cannot be compressed so"


class ContextTooLong(InvalidInput):
    """The prompt, or what it leaves room for, does not fit into what the model can read and write together."""

    code = "context_length_exceeded"
    title = "The text is too long for the model"


class TooLarge(InvalidInput):
    code = "too_large"
    title = "The body is too large"

    def __init__(self, *, given_bytes: int | None, limit_bytes: int, setting: str = "MODELTAP_MAX_BODY_BYTES") -> None:
        given = "the body" if given_bytes is None else f"a body of {given_bytes:,} bytes"
        super().__init__(
            f"{given} is over the limit of {limit_bytes:,} bytes; send fewer rows at a time, or raise {setting} on the server"
        )


class UnsupportedMedia(InvalidInput):
    code = "unsupported_media"
    title = "This kind of body is not read here"


class MemoryExceeded(InvalidInput):
    """A job used more memory than it may, or than the machine has left."""

    code = "memory_limit_exceeded"
    title = "The job needs more memory than it may have"


class MethodNotAllowed(InvalidInput):
    code = "method_not_allowed"
    title = "The path does not take this method"

    def __init__(self, message: str, *, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class NotFound(ModeltapError):
    code = "not_found"
    title = "There is no such thing"

    @classmethod
    def named(cls, noun: str, name: str, known: Iterable[str] = ()) -> NotFound:
        return cls(f"there is no {noun} '{name}'{nearest(name, known)}")


class ModelNotFound(NotFound):
    """No deployment of that name, where a request names one as its model."""

    code = "model_not_found"
    title = "There is no such model"


class Conflict(ModeltapError):
    code = "conflict"
    title = "The state does not allow it"


class GoldenMismatch(Conflict):
    """The graph does not give the answers that were recorded when it was trained."""

    code = "golden_mismatch"
    title = "The model does not repeat its recorded answers"


class HomeInUse(Conflict):
    code = "home_in_use"
    title = "Another server runs on this home"


class LeaseLost(Conflict):
    """Another runner holds the job now; whatever this one still writes is refused."""

    code = "lease_lost"
    title = "The job belongs to another runner"


class Refused(ModeltapError):
    code = "refused"
    title = "Not allowed"


class Unauthenticated(Refused):
    code = "unauthenticated"
    title = "A key is needed"


class Forbidden(Refused):
    """The key is good, and does not allow this."""

    code = "forbidden"
    title = "The key does not allow it"


class ModelNotAllowed(Forbidden):
    """The key is for other deployments."""

    code = "model_not_allowed"
    title = "The key is not for this model"


class UnsafeBind(Refused):
    code = "unsafe_bind"
    title = "This address would be open to others"


class NotConfined(Refused):
    """The system cannot confine what reads a model from elsewhere as far as the operator asks."""

    code = "not_confined"
    title = "Imports cannot be confined enough here"


class LimitReached(ModeltapError):
    """A limit of the key or of its tenant. `retry_after_s`: until the same request would fit; None if waiting is no use."""

    code = "limit_reached"
    title = "A limit is reached"

    def __init__(self, message: str, *, limit: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_after_s = retry_after_s

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "limit": self.limit, "retry_after_s": self.retry_after_s}


class RateLimited(LimitReached):
    """Requests or units in 60 seconds, or requests at a time."""

    code = "rate_limit_exceeded"
    title = "Too much at a time"


class BudgetSpent(LimitReached):
    code = "insufficient_quota"
    title = "The budget is spent"


class Unavailable(ModeltapError):
    code = "unavailable"
    title = "Not available now"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Loading(Unavailable):
    code = "model_loading"
    title = "The model is being loaded"


class Overloaded(Unavailable):
    """The answer would come too late, or the queue is full: refused at the door."""

    code = "server_is_overloaded"
    title = "Too much to do"


class ReplicaLost(Unavailable):
    """The engine process died under the request, and so did the one that it was given to next."""

    code = "replica_lost"
    title = "The engine died"


class DeadlinePassed(Unavailable):
    """It was begun and not finished within its time; what ran until then is charged, so it is not simply sent again."""

    code = "deadline_passed"
    title = "The time was over"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=math.inf)


class UpstreamFailed(Unavailable):
    """The server elsewhere that answers for a deployment cannot be reached, failed, or broke off."""

    code = "upstream_failed"
    title = "The upstream server failed"


class Broken(ModeltapError):
    code = "broken"
    title = "This installation cannot do it"


class MissingExtra(Broken):
    code = "missing_extra"
    title = "A part is not installed"

    def __init__(self, *, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed; run: pip install 'modeltap[{extra}]'")


class StorageFailed(Broken):
    """The disk refused: full, read-only, or gone. What was being written does not exist."""

    code = "storage_failed"
    title = "The disk refused"


class RanksLost(Broken):
    """The processes that train together died again and again, and got no further."""

    code = "ranks_lost"
    title = "The training processes died"


class DatabaseTooNew(Broken):
    code = "database_too_new"
    title = "The database was written by a newer modeltap"


MAX_COMPARED = 50_000
"""Letters by letters that are compared to find the nearest name: a hundredth of a second, whoever chose the names."""


def nearest(given: str, known: Iterable[str]) -> str:
    """A tail for a message: the nearest known names, or what is known, or nothing."""
    names = sorted(set(known))
    close = difflib.get_close_matches(given, _affordable(given, names), n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"; known: {shown}"


def _affordable(given: str, names: list[str]) -> list[str]:
    """Of names that could be near by their length, so many as may be compared."""
    left = MAX_COMPARED
    chosen = []
    for name in names:
        if 7 * min(len(name), len(given)) < 3 * max(len(name), len(given)):  # too far apart for the cutoff, whatever they say
            continue
        left -= len(name) * len(given)
        if left < 0:
            break
        chosen.append(name)
    return chosen

"""Which failures may pass by themselves: a full disk, a store or a database that cannot be reached, too many open files."""

from __future__ import annotations

import errno

from modeltap.errors import StorageFailed, Unavailable

_PASSING_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EDQUOT,
        errno.EHOSTUNREACH,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_PASSING_SQLITE = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_LOCKED")


def may_pass(error: BaseException) -> bool:
    """Whether the same may succeed later though nobody changes what was asked for.

    A StorageFailed is judged by what it was raised from: a disk that is full may get space, one that is read-only is set up so.
    """
    if isinstance(error, Unavailable):
        return True
    if not isinstance(error, StorageFailed | OSError):
        return False
    seen: BaseException | None = error
    while seen is not None:
        if _is_passing(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return isinstance(error, ConnectionError | TimeoutError) or error.errno in _PASSING_ERRNOS
    if getattr(error, "connection_invalidated", False):  # SQLAlchemy: the database server went away
        return True
    cause = getattr(error, "orig", None)
    if str(getattr(cause or error, "sqlite_errorname", "") or "").startswith(_PASSING_SQLITE):
        return True
    # psycopg says so of a server that refuses or breaks off connections, and of one that is starting or ending.
    return any(cls.__module__.startswith("psycopg") and cls.__name__ == "OperationalError" for cls in type(cause).__mro__)

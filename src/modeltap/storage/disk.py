"""What a disk refuses, as a named failure; and the steps that make a file survive a crash."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modeltap.errors import StorageFailed

CHUNK_BYTES = 1 << 20

_FULL = "free some space there ('modeltap gc' removes what nothing uses) and try again"
_REASONS: dict[int, str] = {
    errno.ENOSPC: f"the disk is full; {_FULL}",
    errno.EDQUOT: f"the disk quota of this user is used up; {_FULL}",
    errno.EFBIG: "the file is larger than this system allows; raise the limit (ulimit -f) or use another file system",
    errno.EROFS: "the disk is read-only; mount it for writing, or choose another home with MODELTAP_HOME",
    errno.EACCES: "this user may not write there; give the home to the user that runs modeltap",
    errno.EPERM: "this user may not write there; give the home to the user that runs modeltap",
    errno.EIO: "the disk reports an error; check it, then restore a backup if data is damaged",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this system",
}


def storage_failed(doing: str, error: OSError) -> StorageFailed:
    """The failure to raise for `error`; the message says what to do and holds no path."""
    reason = _REASONS.get(error.errno or 0) or f"the system says: {error.strerror or type(error).__name__}"
    return StorageFailed(f"{doing} failed: {reason}")


@contextmanager
def disk_failures(doing: str) -> Iterator[None]:
    """Turns an OSError from the block into StorageFailed. `doing` begins the message: 'writing a file'."""
    try:
        yield
    except OSError as error:
        raise storage_failed(doing, error) from error


def sync_directory(directory: Path) -> None:
    """Makes renames in `directory` last. Raises OSError."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Writes every byte of `data` to the open file. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]

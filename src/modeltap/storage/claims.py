"""Locks by name among the processes of one home; the system frees those of a process that dies."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from modeltap.storage.disk import disk_failures


class Claim:
    """One lock that is held."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    def release(self) -> None:
        """Somebody else may have it. The file goes while it is still locked, so that no other can be deleted by mistake."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


class Claims:
    """The locks of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, name: str) -> Claim | None:
        """The lock of that name, or None while somebody holds it. Raises StorageFailed."""
        path = self._folder / hashlib.sha256(name.encode()).hexdigest()
        with disk_failures("taking a lock"):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(handle)
                    return None
                if _is_same(path, handle):
                    return Claim(path, handle)
                os.close(handle)  # it was released and deleted between opening and locking


def _is_same(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False

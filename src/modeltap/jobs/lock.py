"""One supervisor a home: a lock that the kernel releases when its holder dies, however that happens."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from modeltap.errors import HomeInUse
from modeltap.storage.disk import disk_failures

LOCK_FILE = "supervisor.lock"


class HomeLock:
    """Held from `acquire` until `release`, or the end of the process. Runners do not inherit it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def acquire(cls, home: Path) -> HomeLock:
        """The lock of `home`, which is created. Raises HomeInUse, naming the process that holds it; StorageFailed."""
        with disk_failures("locking the home"):
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
            except BlockingIOError:
                holder = os.pread(handle, 20, 0).decode("ascii", "replace")
                os.close(handle)
                raise HomeInUse(
                    f"another modeltap server{f' (process {holder})' if holder else ''} runs on this home;"
                    " use it, stop it, or choose another home with --home"
                ) from None
            except OSError:
                os.close(handle)
                raise
        return cls(handle)

    def release(self) -> None:
        """May be called again."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> HomeLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

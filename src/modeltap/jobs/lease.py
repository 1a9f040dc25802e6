"""The runner's side of a lease: a thread that renews it, hears what is wanted, and notices when it is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any

import msgspec

from modeltap.domain.job import Wanted
from modeltap.domain.progress import Progress
from modeltap.errors import LeaseLost, StorageFailed, Unavailable
from modeltap.jobs.advance import Advance
from modeltap.jobs.processes import started_s
from modeltap.storage.jobs import JobQueue

LEASE_S = 10.0


class Lease:
    """Held while the `with` block runs; entering notes this process in the job's row. Raises LeaseLost there."""

    def __init__(
        self,
        jobs: JobQueue,
        job_id: str,
        fence: int,
        *,
        clock: Callable[[], datetime],
        lease_s: float = LEASE_S,
        advance: Advance | None = None,
    ) -> None:
        """`advance` tells which checkpoints are further than any before; without one, all are."""
        self._jobs = jobs
        self._job_id = job_id
        self._fence = fence
        self._clock = clock
        self._lease_s = lease_s
        self._wanted: Wanted = "run"
        self._progress: dict[str, Any] | None = None
        self._got_further = False
        self._advance = advance
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @property
    def wanted(self) -> Wanted:
        """What a person wants of the job, as of the last renewal."""
        return self._wanted

    @property
    def is_lost(self) -> bool:
        """True once another runner holds the job: end at once, write no result."""
        return self._lost.is_set()

    def check(self) -> None:
        """Raises LeaseLost once the lease is lost."""
        if self.is_lost:
            raise LeaseLost(f"this runner no longer holds the job {self._job_id}; it ends without a result")

    def show(self, progress: Progress) -> None:
        """Writes `progress` into the job's row with the next renewal."""
        if self._advance is not None:
            self._advance.see(progress)
        self._progress = msgspec.to_builtins(progress)

    def got_further(self) -> None:
        """Notes, at once and once, that a runner that ends now has not run for nothing: the next one begins beyond it."""
        is_further = self._advance is None or self._advance.is_further()
        if is_further and not self._got_further:
            self._got_further = True
            self._beat()

    def __enter__(self) -> Lease:
        pid = os.getpid()
        self._jobs.set_process(self._job_id, self._fence, pid, started_s(pid) or 0.0)
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _renew(self) -> None:
        try:
            while not self._stop.wait(self._lease_s / 3) and not self.is_lost:
                self._beat()
        finally:
            if not self._stop.is_set():
                self._lost.set()

    def _beat(self) -> None:
        progress, self._progress = self._progress, None
        try:
            self._wanted = self._jobs.heartbeat(
                self._job_id,
                self._fence,
                self._clock(),
                self._lease_s,
                progress=progress,
                got_further=self._got_further,
                reached=None if self._advance is None else self._advance.reached,
            )
        except LeaseLost:
            self._lost.set()
        except (StorageFailed, Unavailable):  # tried again at the next beat; the fence guards what is written meanwhile
            self._progress = self._progress or progress

"""What a home has exactly once, however many processes serve it: the supervisor, and the bringing in of usage records."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from modeltap.control.usage import Usage
from modeltap.domain.quota import Spent
from modeltap.domain.quota_counters import Subject
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import Limits
from modeltap.errors import ModeltapError
from modeltap.jobs.supervisor import Supervisor
from modeltap.settings import Settings
from modeltap.storage.database import Database
from modeltap.storage.jobs import JobQueue
from modeltap.storage.opening import ARTIFACTS_VARIABLE, CACHE_VARIABLE, DATABASE_VARIABLE
from modeltap.storage.segments import USAGE_FOLDER
from modeltap.storage.snapshot import read_snapshot
from modeltap.storage.usage import UsageRepository
from modeltap.wiring.bookkeeper import ingest_beside
from modeltap.wiring.job_pool import job_memory_bytes, job_pool

_log = logging.getLogger(__name__)

INGEST_EVERY_S = 1.0
INGEST_BUSY_S = 30.0
BUSY_BYTES = 1 << 19
"""Of usage in a second, some thousand requests: more is brought in every INGEST_BUSY_S alone, by a process beside. So is what
a busy time left behind, once it is over: a thread of this process would hold up the next requests for as long as it reads."""


class Keeper:
    """Made under the home's lock, in the parent or in the only process."""

    def __init__(self, settings: Settings, database: Database, *, check_alone: Callable[[], None] = lambda: None) -> None:
        """`check_alone` raises while another process may keep the same database."""
        self._settings = settings
        self._database = database
        self._jobs = JobQueue(database)
        self.usage = Usage(database, settings.home / USAGE_FOLDER)
        self._repository = UsageRepository(database)
        self._check_alone = check_alone
        self._wake = threading.Event()
        self._supervising: threading.Thread | None = None
        self._stop = threading.Event()
        self._ingesting = asyncio.Lock()
        self._ticking: asyncio.Task[None] | None = None

    def recover(self) -> None:
        """Usage of processes that died before: brought in, open reservations voided."""
        self.usage.close_dead_writers()

    def snapshot(self) -> DeploymentSnapshot:
        """As the database has it now."""
        return read_snapshot(self._database)

    def start(self) -> None:
        """Jobs run and usage is brought in from now on."""
        # Threads that spin while they wait made trees 38 times slower where other processes wanted the cores too.
        environment = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        if self._settings.database_url is not None:
            environment[DATABASE_VARIABLE] = self._settings.database_url
        if self._settings.artifacts_url is not None:
            environment[ARTIFACTS_VARIABLE] = self._settings.artifacts_url
            environment[CACHE_VARIABLE] = str(self._settings.artifacts_cache_bytes)
        supervisor = Supervisor(
            self._jobs,
            self._settings.home,
            pool=job_pool(self._settings),
            memory_bytes=job_memory_bytes(self._settings),
            environment=environment,
            database_file=self._database.file,
            check_alone=self._check_alone,
        )
        self._supervising = threading.Thread(
            target=supervisor.run, args=(self._stop, self._wake), name="supervisor", daemon=True
        )
        self._supervising.start()
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def wake_jobs(self) -> None:
        """Have the job table looked at now."""
        self._wake.set()

    async def bring_in(self) -> None:
        """Every usage record that was written is in the database; once at a time, without blocking the loop."""
        async with self._ingesting:
            await asyncio.to_thread(self.usage.ingest)

    def note_limits(self, limits: Mapping[Subject, Limits], now_s: float) -> None:
        """These will hold from now on, for the audit. Blocks."""
        self._repository.note_limits(limits, now_s)

    def spent(self, subjects: Collection[Subject], now_s: float) -> dict[Subject, Spent]:
        """What these have spent this day and month, by the database. Blocks."""
        if not subjects:
            return {}
        self.usage.ingest()
        return self._repository.spent(subjects, now_s)

    def has_jobs(self) -> bool:
        """Whether one runs or waits."""
        return any(self._jobs.list(state, limit=1) for state in ("running", "queued"))

    async def stop(self) -> None:
        """Runners go on living; everything of this process ends."""
        self._stop.set()
        self.wake_jobs()
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        if self._supervising is not None:
            await asyncio.to_thread(self._supervising.join)

    async def _tick(self) -> None:
        failed = ""
        waited_s = 0.0
        before_bytes = self._written_bytes()
        while True:
            await asyncio.sleep(INGEST_EVERY_S)
            waited_s += INGEST_EVERY_S
            written_bytes = self._written_bytes()
            is_busy = written_bytes - before_bytes > BUSY_BYTES
            before_bytes = written_bytes
            if is_busy and waited_s < INGEST_BUSY_S:
                continue  # it can wait; who asks for usage has it brought in first
            waited_s = 0.0
            try:
                if not (is_busy or await asyncio.to_thread(self.lag_bytes) > BUSY_BYTES) or not await self._bring_in_beside():
                    await self.bring_in()
                failed = ""
            except ModeltapError as problem:  # the next tick tries again; said once in a row
                if problem.message != failed:
                    _log.warning("usage is not brought in: %s", problem.message)
                failed = problem.message

    async def _bring_in_beside(self) -> bool:
        async with self._ingesting:
            return await asyncio.to_thread(ingest_beside, self._settings.home, self._settings.database_url)

    def _written_bytes(self) -> int:
        """Of all segments that are there."""
        written = 0
        with suppress(FileNotFoundError), os.scandir(self._settings.home / USAGE_FOLDER) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    written += entry.stat().st_size if entry.name.endswith(".seg") else 0
        return written

    def lag_bytes(self) -> int:
        """Of usage that was written and is not in the database yet. Blocks."""
        return self.usage.unread_bytes()

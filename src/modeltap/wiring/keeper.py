"""What a home has exactly once, however many processes serve it: the supervisors, and the bringing in of usage records."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress

from modeltap.control.usage import Usage
from modeltap.domain.job import JobKind
from modeltap.domain.quota import Spent
from modeltap.domain.quota_counters import Subject
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import Limits
from modeltap.errors import ModeltapError
from modeltap.jobs.supervisor import Supervisor
from modeltap.settings import Settings
from modeltap.storage.database import Database
from modeltap.storage.jobs import JobQueue
from modeltap.storage.opening import DATABASE_VARIABLE
from modeltap.storage.snapshot import read_snapshot
from modeltap.storage.usage import UsageRepository
from modeltap.wiring.bookkeeper import ingest_beside
from modeltap.wiring.metering import USAGE_FOLDER

_log = logging.getLogger(__name__)

HEAVY_KINDS: tuple[JobKind, ...] = ("train", "compress")
LIGHT_KINDS: tuple[JobKind, ...] = (
    "import",
    "evaluate",
)
LIGHT_SLOTS = 2
"""Jobs of seconds have runners of their own, so that they never wait behind a training of hours."""
BATCH_KINDS: tuple[JobKind, ...] = ("batch",)
BATCH_SLOTS = 4
"""Batches mostly wait, for answers or for limits, and must keep nobody else waiting meanwhile."""
INGEST_EVERY_S = 1.0
INGEST_BUSY_S = 30.0
BUSY_BYTES = 1 << 19
"""Of usage in a second, some thousand requests: more is brought in every INGEST_BUSY_S alone, by a process beside. So is what
a busy time left behind, once it is over: a thread of this process would hold up the next requests for as long as it reads."""


class Keeper:
    """Made under the home's lock, in the parent or in the only process."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._jobs = JobQueue(database)
        self.usage = Usage(database, settings.home / USAGE_FOLDER)
        self._repository = UsageRepository(database)
        self._wakes: list[threading.Event] = []
        self._threads: list[threading.Thread] = []
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
        lanes = [(LIGHT_KINDS, LIGHT_SLOTS), (HEAVY_KINDS, self._settings.job_slots), (BATCH_KINDS, BATCH_SLOTS)]
        # Threads that spin while they wait made trees 38 times slower where other processes wanted the cores too.
        environment = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        if self._settings.database_url is not None:
            environment[DATABASE_VARIABLE] = self._settings.database_url
        for kinds, slots in lanes:
            supervisor = Supervisor(self._jobs, self._settings.home, slots=slots, kinds=kinds, environment=environment)
            wake = threading.Event()
            thread = threading.Thread(target=supervisor.run, args=(self._stop, wake), name="supervisor", daemon=True)
            self._wakes.append(wake)
            self._threads.append(thread)
            thread.start()
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def wake_jobs(self) -> None:
        """Have the job table looked at now."""
        for wake in self._wakes:
            wake.set()

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
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

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

"""A home with a database, a supervisor with a real small runner, and a clock that can be moved forward."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from modeltap.domain.job import JOB_KINDS
from modeltap.domain.scheduling import Lane, Pool
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.jobs.supervisor import Supervisor
from modeltap.storage.database import Database
from modeltap.storage.jobs import JobQueue, JobRepository
from modeltap.storage.opening import open_database

SLEEPY_RUNNER = (sys.executable, str(Path(__file__).with_name("sleepy_runner.py")))


class Clock:
    """The real time and what a test added to it; the wall clock may also be set, as people and time servers do."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._set_by_s = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._ahead_s + self._set_by_s)

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Time goes by."""
        self._ahead_s += seconds

    def set_by(self, seconds: float) -> None:
        """The wall clock shows something else; no time goes by."""
        self._set_by_s += seconds


def one_lane(slots: int, *, threads: int = 1000, share: int = 1) -> Pool:
    """For jobs of every kind."""
    return Pool(lanes=(Lane(noun="jobs", kinds=JOB_KINDS, slots=slots, share=share),), threads=threads)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    home.mkdir()
    yield home
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(home) in process.cmdline():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    database = open_database(home)
    yield database
    database.close()


@pytest.fixture
def jobs(database: Database) -> JobRepository:
    return JobRepository(database, DEFAULT_TENANT)


@pytest.fixture
def queue(database: Database) -> JobQueue:
    return JobQueue(database)


@pytest.fixture
def make_supervisor(queue: JobQueue, home: Path, clock: Clock) -> Callable[..., Supervisor]:
    def make(slots: int = 1, command: tuple[str, ...] = SLEEPY_RUNNER, **more: Any) -> Supervisor:
        return Supervisor(
            queue,
            home,
            pool=one_lane(slots, **more.pop("pool", {})),
            command=command,
            database_file=home / "modeltap.db",
            clock=clock,
            monotonic=clock.monotonic,
            **more,
        )

    return make


@pytest.fixture
def until() -> Callable[..., None]:
    """Ticks the supervisor until a condition holds."""

    def until(condition: Callable[[], object], *supervisors: Supervisor) -> None:
        give_up_at = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < give_up_at, "it did not happen"
            for supervisor in supervisors:
                supervisor.tick()
            time.sleep(0.005)

    return until

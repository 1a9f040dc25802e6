"""Ends at once what harms all others: a runner over its memory, and one that stands still in the middle of a write.

It asks the system alone, never the database, which such a runner may keep from everybody.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from modeltap.domain.attempt import HowEnded
from modeltap.errors import MemoryExceeded
from modeltap.jobs.process_tree import Seen, memory_bytes, read_processes, tree_of
from modeltap.jobs.processes import send_signal
from modeltap.jobs.watched import Verdict, Watched
from modeltap.jobs.write_lock import find_writer

STOPPED_S = 2.0
"""In the middle of a write: somebody who stops a process to look at it hardly hits that."""
STUCK_S = 60.0
"""A process that was not stopped, and was found in the middle of a write at every look: its disk hangs, or it was frozen."""


class Watchman:
    """`database_file`: of SQLite; a database server frees what a dead client held, and others need not wait for it."""

    def __init__(self, database_file: Path | None, monotonic: Callable[[], float]) -> None:
        self._database_file = database_file
        self._monotonic = monotonic
        self._lock = threading.Lock()

    def look(self, runners: Collection[Watched]) -> None:
        """Looks once at each, and kills those that have to go; why stands in their `verdict`. From any thread."""
        if not runners:
            return
        with self._lock:
            processes = read_processes()
            writer = None if self._database_file is None else find_writer(self._database_file)
            for watched in runners:
                if watched.verdict is None:
                    tree = tree_of(watched.runner.pid, processes)
                    watched.verdict = self._judge_memory(watched, tree) or self._judge_write(watched, tree, writer, processes)
                    if watched.verdict is not None:
                        send_signal(watched.runner, signal.SIGKILL)

    def _judge_memory(self, watched: Watched, tree: Collection[int]) -> Verdict | None:
        limit = watched.limit_bytes
        if limit is None:
            return None
        used = memory_bytes(tree, more_than=limit)
        watched.peak_bytes = max(watched.peak_bytes, used)
        if used <= limit:
            return None
        told = f"the job used {_mb(used)} of memory and may use {_mb(limit)}"
        problem = MemoryExceeded(
            f"{told}; use fewer rows or smaller batches, or let it go on with more:"
            f" modeltap jobs resume {watched.runner.job_id} --memory {_more(used)} (for all jobs: MODELTAP_JOB_MEMORY_BYTES)"
        )
        return Verdict(HowEnded(end="over_memory", detail=told), problem.facts())

    def _judge_write(
        self, watched: Watched, tree: Collection[int], writer: int | None, processes: dict[int, Seen]
    ) -> Verdict | None:
        if writer is None or writer not in tree:
            watched.stuck_since_s = None
            return None
        now_s = self._monotonic()
        if watched.stuck_since_s is None:
            watched.stuck_since_s = now_s
        is_stopped = processes[writer].is_stopped
        stuck_s = now_s - watched.stuck_since_s
        if stuck_s < (STOPPED_S if is_stopped else STUCK_S):
            return None
        how = (
            "it was stopped in the middle of a write" if is_stopped else f"it was in the middle of a write for {stuck_s:.0f} s"
        )
        return Verdict(HowEnded(end="frozen", detail=f"{how} and kept the database from everybody, so it was ended"))


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"


def _more(used: int) -> str:
    """Half as much again, in whole hundreds of MB."""
    return f"{max(1, round(used * 1.5 / 1e8)) * 100}MB"

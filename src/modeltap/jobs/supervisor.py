"""Starts one runner process for each claimed job, watches it to its end, and enforces what a person asked for.

Runners outlive the supervisor: the next one finds them by the process that stands in the job's row and watches on.
The runner writes the job's outcome itself; the supervisor speaks for it only when it died without one.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modeltap.domain.attempt import HowEnded
from modeltap.domain.job import Job, threads_said
from modeltap.domain.scheduling import UNLIMITED, Pool
from modeltap.errors import HomeInUse, LeaseLost, NotFound, StorageFailed, Unavailable
from modeltap.faults import CRASH_VARIABLE, crash_point
from modeltap.jobs.journal import Journal
from modeltap.jobs.lease import LEASE_S
from modeltap.jobs.processes import JOB_VARIABLE, RunnerProcess, find_runner, kill_orphans, mark_of, send_signal, started_s
from modeltap.jobs.thread_limits import thread_environment
from modeltap.jobs.watched import Watched, plan_signal
from modeltap.jobs.watchman import Watchman
from modeltap.storage.disk import storage_failed
from modeltap.storage.jobs import JobQueue
from modeltap.storage.passing import may_pass
from modeltap.storage.reserve import keep_reserve, spend_reserve

RUNNER_COMMAND = (sys.executable, "-P", "-m", "modeltap.runner")
"""-P: modules of the folder that the server was started in must not replace real ones."""
POLL_S = 0.2
"""Between two looks while a runner lives."""
IDLE_POLL_S = 1.0
"""Between two looks while none does; `wake` shortens it."""
NEVER_STARTED = HowEnded(end="never_started", detail="its server ended before it had started it")

_log = logging.getLogger(__name__)


class Supervisor:
    """`tick` does everything that is due; `run` calls it until it is told to stop. One of them a home, see HomeLock."""

    def __init__(
        self,
        jobs: JobQueue,
        home: Path,
        *,
        pool: Pool = UNLIMITED,
        memory_bytes: int | None = None,
        command: Sequence[str] = RUNNER_COMMAND,
        environment: Mapping[str, str] | None = None,
        database_file: Path | None = None,
        check_alone: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        lease_s: float = LEASE_S,
    ) -> None:
        """`command` is called with JOB_ID --fence N --home HOME, in this process's environment and `environment`.

        memory_bytes: of a job that names none; None is no limit. database_file: of SQLite, whose writers are watched.
        check_alone: raises HomeInUse, or StorageFailed, while it is not certain that nobody else looks after these jobs.
        """
        self._jobs = jobs
        self._home = home.absolute()
        self._pool = pool
        self._memory_bytes = memory_bytes
        self._command = tuple(command)
        self._environment = dict(environment or {})
        self._clock = clock
        self._monotonic = monotonic
        self._lease_s = lease_s
        self._watched: dict[tuple[str, int], Watched] = {}
        self._watchman = Watchman(database_file, monotonic)
        self._check_alone = check_alone

    @property
    def num_running(self) -> int:
        """Runners that were alive at the last tick."""
        return len(self._watched)

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Ticks until `stop` is set, at once whenever `wake` is; set both to return at once. Runners go on living."""
        keep_reserve(self._home)
        watchman = threading.Thread(target=self._keep_looking, args=(stop,), name="watchman", daemon=True)
        watchman.start()
        failed = ""
        while not stop.is_set():
            try:
                self.tick()
                failed = ""
            except (StorageFailed, Unavailable, HomeInUse) as error:  # the next tick tries again; said once in a row
                if isinstance(error, StorageFailed):
                    spend_reserve(self._home)
                if error.message != failed:
                    _log.warning("jobs are not looked after: %s", error.message)
                failed = error.message
            wake.wait(POLL_S if self._watched else IDLE_POLL_S)
            wake.clear()
        watchman.join()

    def look(self) -> None:
        """Ends runners that harm all others. It never waits for the database, and may be called while `tick` does."""
        self._watchman.look(tuple(self._watched.values()))

    def tick(self) -> None:
        """Looks after every runner once, then starts what may start. Raises StorageFailed, Unavailable, HomeInUse."""
        self.look()
        self._check_alone()
        running = {(job.id, job.fence): job for job in self._jobs.list("running", limit=None)}
        for holder, job in running.items():
            if holder not in self._watched:
                self._adopt(job)
        for holder, watched in tuple(self._watched.items()):
            if watched.is_alive():
                self._enforce(watched, running.get(holder))
            else:
                self._bury(watched)
        while claimed := self._jobs.claim(self._clock(), self._lease_s, pool=self._pool):
            crash_point("job.claimed")
            self._start(claimed)

    def _keep_looking(self, stop: threading.Event) -> None:
        while not stop.wait(POLL_S):
            self.look()

    def _adopt(self, job: Job) -> None:
        """Watches the process of a running job that an earlier supervisor started; gives the job up if there is none."""
        if job.pid is not None and job.pid_started_s is not None:
            runner: RunnerProcess | None = RunnerProcess(job_id=job.id, pid=job.pid, started_s=job.pid_started_s)
        else:  # its supervisor died before it had noted the process, or started one
            runner = find_runner(job.id, job.fence, self._home)
        if runner is None:
            self._release(job.id, job.fence, NEVER_STARTED)
        else:
            self._watched[job.id, job.fence] = Watched(runner, job.fence, limit_bytes=job.memory_bytes or self._memory_bytes)

    def _start(self, job: Job) -> None:
        keep_reserve(self._home)
        environment = {
            **os.environ,
            **thread_environment(threads_said(job.spec) or job.threads or job.given_threads or 1),
            **self._environment,
            JOB_VARIABLE: mark_of(job.id, job.fence),
        }
        if job.fence > 1:  # a crash that a test asked for happens once
            environment.pop(CRASH_VARIABLE, None)
        arguments = [*self._command, job.id, "--fence", str(job.fence), "--home", str(self._home)]
        journal = Journal(self._home, job.id)
        try:
            with journal.open_log() as log:
                log_from = os.fstat(log.fileno()).st_size
                child = subprocess.Popen(  # noqa: S603 - the command is ours, and no shell reads it
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=environment,
                )
        except (StorageFailed, OSError) as error:
            failure = error if isinstance(error, StorageFailed) else storage_failed("starting the job's process", error)
            self._jobs.finish(job.id, job.fence, "fail", self._clock(), error=failure.facts(), may_pass=may_pass(error))
            return
        crash_point("job.spawned")
        threading.Thread(target=child.wait, name=f"{job.id} exit", daemon=True).start()  # leaves no zombie behind
        runner = RunnerProcess(job_id=job.id, pid=child.pid, started_s=started_s(child.pid) or 0.0)
        self._watched[job.id, job.fence] = Watched(
            runner, job.fence, child, limit_bytes=job.memory_bytes or self._memory_bytes, log_from=log_from
        )
        with suppress(LeaseLost):
            self._jobs.set_process(job.id, job.fence, runner.pid, runner.started_s)

    def _enforce(self, watched: Watched, job: Job | None) -> None:
        """Signals a living runner that had its time; `job` is None once the job is no longer its own."""
        now_s = self._monotonic()
        reason = watched.reason_to_go(job, now_s, self._lease_s)
        if reason != watched.reason:
            watched.reason, watched.since_s, watched.sent = reason, now_s, None
        if reason is not None:
            number = plan_signal(reason, now_s - watched.since_s)
            if number is not None and number != watched.sent:
                send_signal(watched.runner, number)
                watched.sent = number

    def _bury(self, watched: Watched) -> None:
        """Ends what the dead runner left running, and its lease, unless it said the outcome itself."""
        job_id = watched.runner.job_id
        kill_orphans(watched.runner, watched.fence)
        how = watched.how_ended(Journal(self._home, job_id).last_line(watched.log_from))
        self._release(job_id, watched.fence, how, error=None if watched.verdict is None else watched.verdict.error)
        del self._watched[job_id, watched.fence]

    def _release(self, job_id: str, fence: int, how: HowEnded, *, error: dict[str, Any] | None = None) -> None:
        with suppress(LeaseLost, NotFound):
            self._jobs.lose_lease(job_id, fence, self._clock(), how=how, error=error)

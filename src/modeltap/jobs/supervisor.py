"""Starts one runner process for each claimed job, watches it to its end, and enforces what a person asked for.

Runners outlive the supervisor: the next one finds them by the process that stands in the job's row and watches on.
The runner writes the job's outcome itself; the supervisor speaks for it only when it died without one.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from modeltap.domain.job import JOB_KINDS, Job, JobKind
from modeltap.errors import LeaseLost, NotFound, StorageFailed, Unavailable
from modeltap.faults import CRASH_VARIABLE, crash_point
from modeltap.jobs.journal import Journal
from modeltap.jobs.lease import LEASE_S
from modeltap.jobs.processes import JOB_VARIABLE, RunnerProcess, is_alive, kill_orphans, send_signal, started_s
from modeltap.storage.disk import storage_failed
from modeltap.storage.jobs import JobQueue
from modeltap.storage.reserve import keep_reserve, spend_reserve

RUNNER_COMMAND = (sys.executable, "-P", "-m", "modeltap.runner")
"""-P: modules of the folder that the server was started in must not replace real ones."""
POLL_S = 0.2
"""Between two looks while a runner lives."""
IDLE_POLL_S = 1.0
"""Between two looks while none does; `wake` shortens it."""
KILL_AFTER_S = 5.0
"""From SIGTERM to SIGKILL."""

Reason = Literal["cancel", "pause", "ended", "silent"]
TERM_AFTER_S: dict[Reason, float] = {"cancel": 0.0, "pause": 30.0, "ended": 30.0, "silent": 60.0}
"""Why a living runner must go, and how long it may take to do so by itself.

cancel, pause: a person asked for it. ended: its job is over or belongs to another runner. silent: its lease ran out.
"""

_log = logging.getLogger(__name__)


@dataclass
class _Watched:
    """A runner that was alive when last looked at."""

    runner: RunnerProcess
    fence: int
    child: subprocess.Popen[bytes] | None = None
    """None for a runner that an earlier supervisor started."""
    reason: Reason | None = None
    since: datetime | None = None
    """When `reason` was first seen."""
    sent: signal.Signals | None = None
    """The last signal for `reason`."""

    def is_alive(self) -> bool:
        return is_alive(self.runner) if self.child is None else self.child.poll() is None


class Supervisor:
    """`tick` does everything that is due; `run` calls it until it is told to stop. One of them a home, see HomeLock."""

    def __init__(
        self,
        jobs: JobQueue,
        home: Path,
        *,
        slots: int,
        kinds: Collection[JobKind] = JOB_KINDS,
        command: Sequence[str] = RUNNER_COMMAND,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease_s: float = LEASE_S,
    ) -> None:
        """`command` is called with JOB_ID --fence N --home HOME, in this process's environment and `environment`. Jobs of
        other kinds than `kinds` are left to another."""
        self._jobs = jobs
        self._home = home.absolute()
        self._slots = slots
        self._kinds = tuple(kinds)
        self._command = tuple(command)
        self._environment = dict(environment or {})
        self._clock = clock
        self._lease_s = lease_s
        self._watched: dict[tuple[str, int], _Watched] = {}

    @property
    def num_running(self) -> int:
        """Runners that were alive at the last tick."""
        return len(self._watched)

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Ticks until `stop` is set, at once whenever `wake` is; set both to return at once. Runners go on living."""
        keep_reserve(self._home)
        failed = ""
        while not stop.is_set():
            try:
                self.tick()
                failed = ""
            except (StorageFailed, Unavailable) as error:  # the next tick tries again; said once in a row
                if isinstance(error, StorageFailed):
                    spend_reserve(self._home)
                if error.message != failed:
                    _log.warning("jobs are not looked after: %s", error.message)
                failed = error.message
            wake.wait(POLL_S if self._watched else IDLE_POLL_S)
            wake.clear()

    def tick(self) -> None:
        """Looks after every runner once, then starts what waits in the queue. Raises StorageFailed, Unavailable."""
        running = {(job.id, job.fence): job for job in self._jobs.list("running", kinds=self._kinds, limit=None)}
        for holder, job in running.items():
            if holder not in self._watched:
                self._adopt(job)
        for holder, watched in tuple(self._watched.items()):
            if watched.is_alive():
                self._enforce(watched, running.get(holder))
            else:
                self._bury(watched)
        while len(self._watched) < self._slots and (
            claimed := self._jobs.claim(self._clock(), self._lease_s, kinds=self._kinds)
        ):
            crash_point("job.claimed")
            self._start(claimed)

    def _adopt(self, job: Job) -> None:
        """Watches the process of a running job that an earlier supervisor started; gives the job up if there is none."""
        if job.pid is not None and job.pid_started_s is not None:
            runner = RunnerProcess(job_id=job.id, pid=job.pid, started_s=job.pid_started_s)
            self._watched[job.id, job.fence] = _Watched(runner, job.fence)
        elif job.lease_expires_at is None or job.lease_expires_at <= self._clock():
            self._release(job.id, job.fence, "it never started")

    def _start(self, job: Job) -> None:
        keep_reserve(self._home)
        environment = {**os.environ, **self._environment, JOB_VARIABLE: job.id}
        if job.attempt > 1:  # a crash that a test asked for happens once
            environment.pop(CRASH_VARIABLE, None)
        arguments = [*self._command, job.id, "--fence", str(job.fence), "--home", str(self._home)]
        try:
            with Journal(self._home, job.id).open_log() as log:
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
            self._jobs.finish(job.id, job.fence, "fail", self._clock(), error=failure.facts())
            return
        crash_point("job.spawned")
        threading.Thread(target=child.wait, name=f"{job.id} exit", daemon=True).start()  # leaves no zombie behind
        runner = RunnerProcess(job_id=job.id, pid=child.pid, started_s=started_s(child.pid) or 0.0)
        self._watched[job.id, job.fence] = _Watched(runner, job.fence, child)
        with suppress(LeaseLost):
            self._jobs.set_process(job.id, job.fence, runner.pid, runner.started_s)

    def _enforce(self, watched: _Watched, job: Job | None) -> None:
        """Signals a living runner that had its time; `job` is None once the job is no longer its own."""
        now = self._clock()
        reason = _reason_to_go(job, now)
        if reason != watched.reason:
            watched.reason, watched.since, watched.sent = reason, now, None
        if reason is not None and watched.since is not None:
            number = plan_signal(reason, (now - watched.since).total_seconds())
            if number is not None and number != watched.sent:
                send_signal(watched.runner, number)
                watched.sent = number

    def _bury(self, watched: _Watched) -> None:
        """Ends what the dead runner left running, and its lease, unless it said the outcome itself."""
        kill_orphans(watched.runner)
        self._release(watched.runner.job_id, watched.fence, _cause(watched.child))
        del self._watched[watched.runner.job_id, watched.fence]

    def _release(self, job_id: str, fence: int, cause: str) -> None:
        with suppress(LeaseLost, NotFound):
            self._jobs.lose_lease(job_id, fence, self._clock(), cause=cause)


def plan_signal(reason: Reason, waited_s: float) -> signal.Signals | None:
    """What to send a runner that should go for `reason` and had `waited_s` for it; None is to wait on. Pure."""
    if waited_s < TERM_AFTER_S[reason]:
        return None
    return signal.SIGTERM if waited_s < TERM_AFTER_S[reason] + KILL_AFTER_S else signal.SIGKILL


def _reason_to_go(job: Job | None, now: datetime) -> Reason | None:
    if job is None:
        return "ended"
    if job.wanted != "run":
        return job.wanted
    if job.lease_expires_at is not None and job.lease_expires_at <= now:
        return "silent"
    return None


def _cause(child: subprocess.Popen[bytes] | None) -> str:
    code = child.returncode if child is not None else None
    if code is None or code == 0:
        return "it ended without a word"
    if code > 0:
        return f"it ended with status {code}"
    hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
    return f"it was killed by signal {-code}{hint}"

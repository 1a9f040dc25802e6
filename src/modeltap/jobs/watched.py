"""A runner that a supervisor looks after: how long it has been silent, what was found wrong with it, how it ended."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from modeltap.domain.attempt import AttemptEnd, HowEnded
from modeltap.domain.job import Job
from modeltap.jobs.processes import RunnerProcess, is_alive

KILL_AFTER_S = 5.0
"""From SIGTERM to SIGKILL."""

Reason = Literal["cancel", "pause", "ended", "silent"]
TERM_AFTER_S: dict[Reason, float] = {"cancel": 0.0, "pause": 30.0, "ended": 30.0, "silent": 60.0}
"""Why a living runner must go, and how long it may take to do so by itself.

cancel, pause: a person asked for it. ended: its job is over or belongs to another runner. silent: its lease ran out.
"""
_VMSTAT = Path("/proc/vmstat")


@dataclass
class Verdict:
    """Why a runner was killed at once. `error` ends its job; without one the job goes back to the queue."""

    how: HowEnded
    error: dict[str, Any] | None = None


@dataclass
class Watched:
    """A runner that was alive when last looked at. Times are of a clock that nobody sets."""

    runner: RunnerProcess
    fence: int
    child: subprocess.Popen[bytes] | None = None
    """None for a runner that an earlier supervisor started."""
    limit_bytes: int | None = None
    log_from: int = 0
    """Where its part of the log begins."""
    kills_before: int | None = field(default_factory=lambda: num_memory_kills())
    heard: datetime | None = None
    """The lease as it was last seen: it changes with every renewal, whatever the wall clock does."""
    heard_at_s: float | None = None
    reason: Reason | None = None
    since_s: float = 0.0
    """When `reason` was first seen."""
    sent: signal.Signals | None = None
    """The last signal for `reason`."""
    peak_bytes: int = 0
    stuck_since_s: float | None = None
    """It has been found in the middle of a write to the database at every look since then."""
    verdict: Verdict | None = None

    def is_alive(self) -> bool:
        return is_alive(self.runner) if self.child is None else self.child.poll() is None

    def reason_to_go(self, job: Job | None, now_s: float, lease_s: float) -> Reason | None:
        """Why it should not run any more; `job` is None once the job is no longer its own."""
        if job is None:
            return "ended"
        if self.heard_at_s is None or job.lease_expires_at != self.heard:
            self.heard, self.heard_at_s = job.lease_expires_at, now_s
        if job.wanted != "run":
            return job.wanted
        return "silent" if now_s - self.heard_at_s >= lease_s else None

    def how_ended(self, log_line: str | None) -> HowEnded:
        """As far as is known of a runner that is dead and has not said its outcome itself."""
        if self.verdict is not None:
            end, detail = self.verdict.how.end, self.verdict.how.detail
        else:
            end, detail = self._read_end()
        code = None if self.child is None else self.child.poll()
        return HowEnded(
            end=end or "vanished",
            detail=detail or "",
            exit_status=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            log_line=log_line,
            peak_bytes=self.peak_bytes or None,
        )

    def _read_end(self) -> tuple[AttemptEnd, str]:
        if self.sent is not None and self.reason == "silent":
            return "silent", "it was ended, as it no longer renewed its lease"
        if self.sent is not None and self.reason == "cancel":
            return "cancelled", "it was ended, as somebody cancelled the job"
        if self.sent is not None and self.reason == "pause":
            return "paused", "it was ended, as somebody paused the job and it did not stop by itself"
        code = None if self.child is None else self.child.poll()
        if code is None:
            return "vanished", "it was gone when the server looked for it again"
        if code >= 0:
            return "exited", f"it ended with status {code} and left no word"
        kills = num_memory_kills()
        if code != -signal.SIGKILL:
            return "killed", f"it was killed by signal {-code}"
        if kills is None or self.kills_before is None:
            return "killed", f"it was killed by signal {-code}, as the system does when memory runs out"
        if kills > self.kills_before:
            return "out_of_memory", f"the system killed it with signal {-code}, as its memory had run out"
        return "killed", f"it was killed by signal {-code}, which somebody sent"


def plan_signal(reason: Reason, waited_s: float) -> signal.Signals | None:
    """What to send a runner that should go for `reason` and had `waited_s` for it; None is to wait on. Pure."""
    if waited_s < TERM_AFTER_S[reason]:
        return None
    return signal.SIGTERM if waited_s < TERM_AFTER_S[reason] + KILL_AFTER_S else signal.SIGKILL


def num_memory_kills() -> int | None:
    """Processes that this system has killed because memory ran out, since it started; None where it does not tell."""
    try:
        for line in _VMSTAT.read_bytes().splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        return None
    return None

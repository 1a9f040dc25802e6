"""One runner's hold on a job and how it ended; and when a job whose failure may pass by itself is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from modeltap.domain.job import JobKind

AttemptEnd = Literal[
    "succeeded",
    "failed",
    "waits",
    "paused",
    "cancelled",
    "exited",
    "killed",
    "out_of_memory",
    "over_memory",
    "frozen",
    "silent",
    "never_started",
    "vanished",
]
"""succeeded, failed, paused, cancelled: the runner said so itself. waits: it failed in a way that may pass. exited: it ended
with a status and without a word. killed: by a signal that nobody here sent. out_of_memory: by the system, whose memory ran out.
over_memory: by the supervisor, as it used more than the job may. frozen: by the supervisor, as it stood still and kept the
database from everybody. silent: by the supervisor, as its lease was over. never_started: its supervisor died before it began.
vanished: it was gone when a supervisor looked for it again."""

FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 600.0
MAX_RETRIES = 30
"""In a row, without a checkpoint between them: about four hours."""
TRIED_AGAIN: frozenset[JobKind] = frozenset({"train", "evaluate", "compress", "batch", "tune"})
"""An import is not: a person waits for it, and its upload takes the space that a full disk lacks."""


class HowEnded(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a runner's end. `signal` and `exit_status`: of its process. `log_line`: the last it wrote."""

    end: AttemptEnd = "vanished"
    detail: str = "it was gone, and left no word"
    exit_status: int | None = None
    signal: int | None = None
    log_line: str | None = None
    peak_bytes: int | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table of attempts: a runner's hold on a job, and from `end` on what is known once it has ended."""

    number: int
    """The fence it holds or held; the first runner of a job has 1."""
    started_at: datetime
    pid: int | None = None
    threads: int | None = None
    ended_at: datetime | None = None
    end: AttemptEnd | None = None
    detail: str | None = None
    exit_status: int | None = None
    signal: int | None = None
    log_line: str | None = None
    peak_bytes: int | None = None


def retry_delay_s(retries: int) -> float:
    """How long to wait after a failure with so many before it in a row: 5 s, then twice as long each time, at most 10 min."""
    return min(FIRST_RETRY_S * 2.0 ** min(retries, 20), LONGEST_RETRY_S)


def is_due(not_before: datetime | None, now: datetime) -> bool:
    """Whether the wait is over. One that is longer than any can be began before the clock was set back, and is over too."""
    return not_before is None or not_before <= now or not_before > now + timedelta(seconds=LONGEST_RETRY_S)

"""A durable unit of background work, its states, and which event leads from one to the next."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args

import msgspec

from modeltap.errors import Conflict

JobKind = Literal["import", "train", "evaluate", "compress", "batch"]
JOB_KINDS: tuple[JobKind, ...] = get_args(JobKind)

JobState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
"""queued: waits for a runner. running: a runner holds the lease. paused: stopped at a checkpoint until it is resumed.
succeeded, failed, cancelled: ended; a failed or cancelled job may be resumed from its checkpoint."""

JobEvent = Literal["claim", "succeed", "fail", "cancel", "lose_lease", "pause", "resume"]

Via = Literal["openai"]

Wanted = Literal["run", "pause", "cancel"]
"""What a person asked a running job to do; its runner sees it at the next heartbeat."""

TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    ("queued", "claim"): "running",
    ("queued", "pause"): "paused",
    ("queued", "cancel"): "cancelled",
    ("running", "succeed"): "succeeded",
    ("running", "fail"): "failed",
    ("running", "cancel"): "cancelled",
    ("running", "lose_lease"): "queued",
    ("running", "pause"): "paused",
    ("paused", "resume"): "queued",
    ("paused", "cancel"): "cancelled",
    ("failed", "resume"): "queued",
    ("cancelled", "resume"): "queued",
}

ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})
REPORT_FILE = "report.html"
"""In a job's folder: what an evaluation shows a person."""
MAX_ATTEMPTS = 5
"""Runners in a row that died without a word, and without a checkpoint beyond the one they began with, before the job is failed
instead of queued again."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the job table. `fence` grows at every claim: a runner with an older one has lost its lease."""

    id: str
    tenant: str
    kind: JobKind
    state: JobState
    spec: dict[str, Any]
    wanted: Wanted = "run"
    fence: int = 0
    attempt: int = 0
    pid: int | None = None
    pid_started_s: float | None = None
    lease_expires_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    via: Via | None = None
    """The protocol it was asked for in, whose clients find it again; None is our own."""


def next_state(state: JobState, event: JobEvent) -> JobState:
    """The state after `event`. Raises Conflict, naming what is possible, if the event does not fit."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        possible = ", ".join(sorted(e for s, e in TRANSITIONS if s == state)) or "nothing"
        raise Conflict(f"a job that is {state} cannot {event}; possible: {possible}") from None

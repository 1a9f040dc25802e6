"""A durable unit of background work, its states, and which event leads from one to the next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec

from modeltap.errors import Conflict

JobKind = Literal["import", "train", "evaluate", "compress", "batch", "tune"]
JOB_KINDS: tuple[JobKind, ...] = get_args(JobKind)

JobState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
"""queued: waits for a runner. running: a runner holds the lease. paused: stopped at a checkpoint until it is resumed.
succeeded, failed, cancelled: ended; a failed or cancelled job may be resumed from its checkpoint."""

JobEvent = Literal["claim", "succeed", "fail", "retry", "cancel", "lose_lease", "pause", "resume"]

Priority = Literal["low", "normal", "high"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

Via = Literal["openai"]

Wanted = Literal["run", "pause", "cancel"]
"""What a person asked a running job to do; its runner sees it at the next heartbeat."""

TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    ("queued", "claim"): "running",
    ("queued", "pause"): "paused",
    ("queued", "cancel"): "cancelled",
    ("running", "succeed"): "succeeded",
    ("running", "fail"): "failed",
    ("running", "retry"): "queued",
    ("running", "cancel"): "cancelled",
    ("running", "lose_lease"): "queued",
    ("running", "pause"): "paused",
    ("paused", "resume"): "queued",
    ("paused", "cancel"): "cancelled",
    ("failed", "resume"): "queued",
    ("cancelled", "resume"): "queued",
}

ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})
TRIALS_FILE = "trials.jsonl"
"""In the folder of a search: its trials, one a line."""
REPORT_FILE = "report.html"
"""In a job's folder: what an evaluation shows a person."""
MAX_ATTEMPTS = 5
"""Runners in a row that died without a word, and without a checkpoint beyond the one they began with, before the job is failed
instead of queued again."""


class JobTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may ask of how a job runs; None is what the server's settings say."""

    priority: Priority | None = None
    threads: int | None = None
    memory_bytes: int | None = None
    """Of all processes of the job together."""

    def threads_of(self, spec: Mapping[str, Any]) -> int | None:
        """Those of a job of this spec: what its recipe says comes first, as its result depends on it."""
        if "threads" in spec:  # of a search: those of all trials that run at a time
            return int(spec["threads"])
        each = threads_said(spec)
        processes = ((spec.get("recipe") or {}).get("distributed") or {}).get("processes") or 1
        return self.threads if each is None else each * processes


NO_TERMS = JobTerms()


def threads_said(spec: Mapping[str, Any]) -> int | None:
    """Of each process of a job of this spec, where it says so."""
    threads: int | None = spec.get("trial_threads") or (spec.get("recipe") or {}).get("threads")
    return threads


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
    priority: Priority = "normal"
    threads: int | None = None
    """As its recipe or its terms ask; None is a share of what jobs may have."""
    memory_bytes: int | None = None
    """As its terms ask; None is what the settings allow."""
    given_threads: int | None = None
    """Of those that jobs may have together, while it runs."""
    retries: int = 0
    """Failures in a row that may pass by themselves."""
    not_before: datetime | None = None
    """It waits until then after such a failure, which `waiting` tells as errors are told."""
    waiting: dict[str, Any] | None = None
    reached: float | None = None
    """How far of its training a checkpoint was ever saved: 0 to 1."""


def next_state(state: JobState, event: JobEvent) -> JobState:
    """The state after `event`. Raises Conflict, naming what is possible, if the event does not fit."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        possible = ", ".join(sorted(e for s, e in TRANSITIONS if s == state)) or "nothing"
        raise Conflict(f"a job that is {state} cannot {event}; possible: {possible}") from None

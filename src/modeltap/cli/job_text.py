"""Why a job waits, and how each of its runners ended, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modeltap.cli.moments import elapsed
from modeltap.cli.output import Output, duration, size

if TYPE_CHECKING:
    from modeltap.client import Job
    from modeltap.client.values import Attempt

ENDS = {
    "waits": "failed, may pass",
    "exited": "died",
    "killed": "killed",
    "out_of_memory": "out of memory",
    "over_memory": "over its memory",
    "frozen": "frozen, ended",
    "silent": "silent, ended",
    "never_started": "never started",
}


def waiting_text(job: Job) -> str | None:
    """What a queued job waits for; None for any other."""
    if job.state != "queued":
        return None
    if job.not_before is not None:
        left_s = max(0.0, (job.not_before - datetime.now(UTC)).total_seconds())
        why = (job.waiting or {}).get("detail", "")
        return f"tried again at {clock_time(job.not_before)} (in {duration(left_s)}): {why}"
    if job.queue is None:
        return None
    return f"number {job.queue.position} in the queue: {job.queue.detail}"


def state_text(job: Job) -> str:
    """The state in a column: `queued, number 3`, `queued until 14:05:09`."""
    if job.state == "queued" and job.not_before is not None:
        return f"queued until {clock_time(job.not_before)}"
    return f"queued, number {job.queue.position}" if job.state == "queued" and job.queue is not None else job.state


def limits_text(job: Job) -> str | None:
    """`2 threads, at most 4.0 GB, high priority`; None where nothing is known or asked."""
    threads = job.threads or job.given_threads
    told = [
        f"{threads} {'thread' if threads == 1 else 'threads'}" if threads else "",
        f"at most {size(job.memory_bytes)}" if job.memory_bytes else "",
        f"{job.priority} priority" if job.priority != "normal" else "",
    ]
    return ", ".join(filter(None, told)) or None


def show_attempts(out: Output, attempts: tuple[Attempt, ...]) -> None:
    """A table where there is something to tell: several, or one that did not end well."""
    if len(attempts) < 2 and all(attempt.end in (None, "succeeded") for attempt in attempts):
        return
    rows = [
        (
            attempt.number,
            clock_time(attempt.started_at),
            _took(attempt),
            "runs" if attempt.end is None else ENDS.get(attempt.end, attempt.end),
            attempt.detail or None,
        )
        for attempt in attempts
    ]
    out.say()
    out.table(("runner", "started", "took", "ended", "how"), rows, right=("runner",))
    last = next((attempt for attempt in reversed(attempts) if attempt.log_line), None)
    if last is not None:
        out.say(f"the last line of runner {last.number}: {last.log_line}", style="dim")


def _took(attempt: Attempt) -> str:
    spent = elapsed(attempt.started_at, attempt.ended_at)
    return duration(max(0.0, spent.total_seconds() if spent else 0.0))


def clock_time(moment: datetime) -> str:
    """Of today 14:05:09, else with the day; in this machine's time zone."""
    local = moment.astimezone()
    is_today = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")

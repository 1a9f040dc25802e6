"""What a fine-tuning job told, as OpenAI's events; and the model that came of it, as their checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modeltap.api.openai.batches import seconds
from modeltap.control.fine_tunings import JOB_PREFIX, FineTuning
from modeltap.domain.model import ModelVersion
from modeltap.domain.progress import Progress
from modeltap.jobs.journal import Journal

METRICS = {"train_loss": "train_loss", "val_loss": "valid_loss"}


def event_facts(one: FineTuning, journal: Journal) -> list[dict[str, Any]]:
    """All of them, the oldest first. The id of one never changes, so that pages fit together."""
    job = one.job
    found = [_event(one, 0, seconds(job.created_at), f"Created fine-tuning job: {one.id}")]
    began = seconds(job.started_at)
    for progress in _told(journal):
        at = began if progress.at_s is None else int(progress.at_s)
        message, data = _said(progress)
        if message:
            found.append(_event(one, len(found), at, message, data=data))
    ended_at = seconds(job.ended_at)
    match one.status:
        case "succeeded":
            found.append(_event(one, len(found), ended_at, f"New fine-tuned model created: {one.spec.name}"))
            found.append(_event(one, len(found), ended_at, "The job has successfully completed"))
        case "failed":
            told_error = (job.error or {}).get("detail", "the job failed")
            found.append(_event(one, len(found), ended_at, f"The job failed: {told_error}", level="error"))
        case "cancelled":
            found.append(_event(one, len(found), ended_at, "The job was cancelled", level="warn"))
    return found


def checkpoint_facts(
    one: FineTuning, version: ModelVersion, history: Sequence[dict[str, Any]], journal: Journal
) -> dict[str, Any]:
    """The model that came of the job. `history`: what was measured on the way."""
    last = history[-1] if history else {}
    step = max((_step(progress) or 0 for progress in _told(journal)), default=0) or len(history)
    metrics = {told: last[name] for name, told in METRICS.items() if isinstance(last.get(name), int | float)}
    tail = one.job.id.removeprefix(JOB_PREFIX)
    return {
        "id": f"ftckpt_{tail}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": seconds(version.created_at),
        "fine_tuned_model_checkpoint": one.spec.name,
        "fine_tuning_job_id": one.id,
        "step_number": step,
        "metrics": {"step": step, **metrics},
    }


def _told(journal: Journal) -> Iterator[Progress]:
    """All that the job's runners have told so far."""
    offset = 0
    while True:
        told, following = journal.read_events(offset)
        yield from told
        if following == offset:
            return
        offset = following


def _said(progress: Progress) -> tuple[str, dict[str, Any] | None]:
    """The message of the event, and its metrics where it is one of those; '' where it says nothing."""
    measured, step = progress.epoch_metrics, _step(progress)
    if measured:
        numbers = {METRICS.get(name, name): value for name, value in measured.items() if isinstance(value, int | float)}
        where = f"Epoch {progress.epoch}/{progress.epochs}" if progress.epochs else f"Step {progress.step}/{progress.steps}"
        told = ", ".join(f"{name}={value:.4g}" for name, value in numbers.items() if name not in ("epoch", "step"))
        return f"{where}: {told}", {**({} if step is None else {"step": step}), **numbers}
    if progress.loss is not None and step is not None:
        total = None if progress.steps is None else progress.steps * (progress.epochs or 1)
        of = "" if total is None else f"/{total}"
        return f"Step {step}{of}: training loss={progress.loss:.4g}", {
            "step": step,
            "total_steps": total,
            "train_loss": progress.loss,
        }
    return progress.message, None


def _step(progress: Progress) -> int | None:
    """Counted over all passes; a job tells the steps of one pass."""
    if progress.step is None or progress.steps is None or progress.epoch is None:
        return progress.step
    return (progress.epoch - 1) * progress.steps + progress.step


def _event(
    one: FineTuning, number: int, at: int | None, message: str, *, data: dict[str, Any] | None = None, level: str = "info"
) -> dict[str, Any]:
    return {
        "id": f"ftevent-{one.job.id.removeprefix(JOB_PREFIX)}-{number:06d}",
        "object": "fine_tuning.job.event",
        "created_at": at or seconds(one.job.created_at),
        "level": level,
        "message": message,
        "type": "message" if data is None else "metrics",
        "data": {} if data is None else data,
    }

"""The trials of a search as text: how many ended how, the best one, and what one line of progress tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modeltap.cli.metrics_text import score

if TYPE_CHECKING:
    from modeltap.client import Job
    from modeltap.domain.tuning import TrialCounts


def trial_facts(job: Job) -> list[tuple[str, str | None]]:
    """Of a search that runs or has ended; nothing of other jobs."""
    counts = counts_of(job)
    if counts is None:
        return []
    return [("trials", counts_text(counts)), ("best so far" if not job.is_resting else "best", best_text(counts))]


def counts_of(job: Job) -> TrialCounts | None:
    """As the job's result tells, or its last progress."""
    import msgspec

    from modeltap.domain.tuning import TrialCounts

    told: Any = (job.result or {}).get("trials")
    if isinstance(told, dict):
        return msgspec.convert(told, TrialCounts)
    return job.progress.trials if job.progress else None


def counts_text(counts: TrialCounts) -> str:
    """31 complete, 6 pruned, 1 failed, 2 running of 40"""
    states = [(counts.complete, "complete"), (counts.pruned, "pruned"), (counts.failed, "failed"), (counts.running, "running")]
    shown = [f"{number} {state}" for number, state in states if number or state == "complete"]
    return f"{', '.join(shown)} of {counts.total}"


def best_text(counts: TrialCounts) -> str | None:
    """roc_auc 0.9153 in trial 17: optimizer.lr 0.00312, model.hidden [128, 64]"""
    best = counts.best
    if best is None:
        return None
    return f"{counts.metric} {score(best.value)} in trial {best.trial}: {params_text(best.params)}"


def params_text(params: dict[str, Any]) -> str:
    from modeltap.recipe.search_space import told_value

    return ", ".join(f"{key} {told_value(value)}" for key, value in params.items())


def trials_line(counts: TrialCounts) -> str:
    """12/40  3 pruned  1 failed  best roc_auc 0.9153 (trial 8)"""
    told = [f"{counts.num_ended}/{counts.total}"]
    told += [f"{number} {state}" for number, state in ((counts.pruned, "pruned"), (counts.failed, "failed")) if number]
    if counts.best is not None:
        told.append(f"best {counts.metric} {score(counts.best.value)} (trial {counts.best.trial})")
    return "  ".join(told)

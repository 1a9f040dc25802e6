"""The end of every training: its bundle becomes a version, and the job's result says which."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from modeltap.control.trainings import TrainSpec
from modeltap.domain.model import Manifest
from modeltap.domain.progress import Progress
from modeltap.evaluation.result import Evaluation
from modeltap.faults import crash_point
from modeltap.runner.steps import Step
from modeltap.storage.models import ModelRepository


def register(
    step: Step,
    spec: TrainSpec,
    digest: str,
    manifest: Manifest,
    *,
    history: Sequence[dict[str, Any]],
    notices: Sequence[str],
    report: str | None = None,
    evaluation: Evaluation | None = None,
    candidates: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The job's result. The bundle of that digest is stored already. candidates: of a search, a row each."""
    crash_point("version.blobs_written")
    version = ModelRepository(step.database, step.job.tenant).add(
        spec.name,
        digest,
        manifest,
        step.job.id,
        datetime.now(UTC),
        report=report,
        evaluation=msgspec.to_builtins(evaluation) if evaluation else None,
        history=history,
    )
    step.report(Progress(phase="done", fraction=1.0, message=version.id))
    return {
        "job": step.job.id,
        "version": version.id,
        "name": version.name,
        "digest": digest,
        "metrics": manifest.metrics,
        "notices": list(notices),
        **({"candidates": list(candidates)} if candidates else {}),
    }

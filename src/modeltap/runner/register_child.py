"""The end of every compression: its bundle becomes a version with a certificate, a candidate or rejected."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from modeltap.control.compress_spec import CompressSpec
from modeltap.domain.certificate import Certificate
from modeltap.domain.model import Manifest
from modeltap.domain.progress import Progress
from modeltap.evaluation.result import Evaluation
from modeltap.faults import crash_point
from modeltap.runner.steps import Step
from modeltap.storage.models import ModelRepository


def register_child(
    step: Step,
    spec: CompressSpec,
    digest: str,
    manifest: Manifest,
    certificate: Certificate,
    *,
    history: Sequence[dict[str, Any]] = (),
    report: str | None = None,
    evaluation: Evaluation | None = None,
) -> dict[str, Any]:
    """The job's result. The bundle of that digest is stored already."""
    crash_point("version.blobs_written")
    version = ModelRepository(step.database, step.job.tenant).add(
        spec.name,
        digest,
        msgspec.structs.replace(manifest, certificate=certificate),
        step.job.id,
        datetime.now(UTC),
        state="rejected" if certificate.reasons else "candidate",
        report=report,
        evaluation=msgspec.to_builtins(evaluation) if evaluation else None,
        history=history,
    )
    told = f"{version.id}: no win: {'; '.join(certificate.reasons)}" if certificate.reasons else version.id
    step.report(Progress(phase="done", fraction=1.0, message=told))
    return {
        "job": step.job.id,
        "version": version.id,
        "name": version.name,
        "digest": digest,
        "state": version.state,
        "metrics": manifest.metrics,
        "certificate": msgspec.to_builtins(certificate),
    }

"""What a step is given, and which function does which kind of job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltap.domain.job import Job, JobKind
from modeltap.domain.progress import Progress
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.database import Database
from modeltap.training.stopped import Stopped


@dataclass(frozen=True)
class Step:
    """A job, where it may write, whom it tells, and whether it should stop."""

    job: Job
    home: Path
    database: Database
    artifacts: ArtifactStore
    workdir: Path
    report: Callable[[Progress], None]
    stop_requested: Callable[[], bool]

    def pause_point(self) -> None:
        """Raises Stopped if the job should stop; called where nothing is half done."""
        if self.stop_requested():
            raise Stopped


def step_for(kind: JobKind) -> Callable[[Step], dict[str, Any]]:
    """The function that does such a job; its return value is the job's result."""
    match kind:
        case "import":
            from modeltap.runner.imports import import_dataset

            return import_dataset
        case "train":
            from modeltap.runner.train import train

            return train
        case "evaluate":
            from modeltap.runner.evaluate import evaluate

            return evaluate

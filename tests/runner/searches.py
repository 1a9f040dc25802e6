"""A search in a workshop, as its runner does it: trials in processes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workshop import Workshop

from modeltap.control.tunings import Tunings
from modeltap.domain.job import Job
from modeltap.domain.progress import Progress
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.runner.kinds import step_for
from modeltap.runner.steps import Step
from modeltap.storage.datasets import DatasetRepository

SMALL: dict[str, Any] = {
    "task": "tabular-classification",
    "data": {"target": "label"},
    "model": {"architecture": "mlp", "hidden": [4]},
    "epochs": 3,
    "early_stopping": None,
    "threads": 1,
}


@dataclass
class Search:
    """One search that was submitted, and what its runner told."""

    workshop: Workshop
    job: Job
    told: list[Progress]

    @property
    def messages(self) -> list[str]:
        return [progress.message for progress in self.told if progress.trials is not None and progress.message]

    def run(self, *, stop_after: int | None = None) -> dict[str, Any]:
        """The result. Raises Stopped once so many trials have ended."""
        folder = self.workshop.home / "jobs" / self.job.id
        folder.mkdir(parents=True, exist_ok=True)
        step = Step(
            job=self.job,
            home=self.workshop.home,
            database=self.workshop.database,
            artifacts=self.workshop.artifacts,
            workdir=folder,
            report=self.told.append,
            stop_requested=lambda: stop_after is not None and len(self.messages) >= stop_after,
        )
        return step_for(self.job)(step)


def tunings(workshop: Workshop) -> Tunings:
    datasets = DatasetRepository(workshop.database, DEFAULT_TENANT)
    return Tunings(workshop.home, datasets, workshop.models, workshop.jobs, lambda: None, threads=1, checkpoint_every_s=10.0)


def submit(workshop: Workshop, dataset: str, recipe: Mapping[str, Any], **more: Any) -> Search:
    return Search(workshop, tunings(workshop).start(dataset, recipe=recipe, **more), [])

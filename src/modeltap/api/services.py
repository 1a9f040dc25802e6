"""What the control routes call; wiring fills it, a route takes it as a dependency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Annotated, Any

from fastapi import Depends, Request

from modeltap.control.datasets import Datasets
from modeltap.control.deployments import Deployments
from modeltap.control.models import Models
from modeltap.control.trainings import Trainings
from modeltap.control.upkeep import Upkeep
from modeltap.jobs.journal import Journal
from modeltap.serving.router import Router
from modeltap.storage.jobs import JobRepository


@dataclass(frozen=True)
class Services:
    datasets: Datasets
    trainings: Trainings
    models: Models
    deployments: Deployments
    upkeep: Upkeep
    jobs: JobRepository
    router: Router
    home: Path
    wake_jobs: Callable[[], None]
    describe_server: Callable[[], dict[str, Any]]
    closing: Event
    """Set when the server is about to end: streams come to their end then."""
    max_body_bytes: int
    max_upload_bytes: int

    def journal(self, job_id: str) -> Journal:
        """The files of a job that exists. Raises NotFound."""
        return Journal(self.home, self.jobs.get(job_id).id)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Use = Annotated[Services, Depends(_services)]

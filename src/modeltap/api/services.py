"""What the control routes call on behalf of one tenant; wiring makes it, a route takes it as a dependency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal, Protocol

from fastapi import Depends, Request

from modeltap.api.access import caller
from modeltap.control.audit import AuditReport
from modeltap.control.batches import Batches
from modeltap.control.compressions import Compressions
from modeltap.control.datasets import Datasets
from modeltap.control.deployments import Deployments
from modeltap.control.files import Files
from modeltap.control.fine_tunings import FineTunings
from modeltap.control.keys import Keys
from modeltap.control.models import Models
from modeltap.control.request_batches import RequestBatches
from modeltap.control.tenants import Tenants
from modeltap.control.trainings import Trainings
from modeltap.control.tunings import Tunings
from modeltap.control.upkeep import Upkeep
from modeltap.control.upstreams import UpstreamVersions
from modeltap.control.usage import Usage
from modeltap.domain.job import NO_TERMS, JobTerms
from modeltap.domain.scheduling import Standing
from modeltap.jobs.journal import Journal
from modeltap.serving.router import Router
from modeltap.storage.jobs import JobRepository


@dataclass(frozen=True)
class Services:
    """All but `tenants`, `usage`, `audit`, `upkeep`, `router` and what describes the server see the things of one tenant
    alone."""

    datasets: Datasets
    trainings: Trainings
    tunings: Tunings
    compressions: Compressions
    models: Models
    deployments: Deployments
    upstreams: UpstreamVersions
    batches: Batches
    files: Files
    fine_tunings: FineTunings
    request_batches: RequestBatches
    keys: Keys
    jobs: JobRepository
    tenants: Tenants
    usage: Usage
    audit: Callable[[], AuditReport]
    currency: str
    upkeep: Upkeep
    router: Router
    home: Path
    standings: Callable[[], Mapping[str, Standing]]
    """Of all tenants' jobs that wait: id → place in the queue, and for what."""
    wake_jobs: Callable[[], None]
    describe_server: Callable[[], dict[str, Any]]
    closing: Event
    """Set when the server is about to end: streams come to their end then."""
    max_body_bytes: int
    max_upload_bytes: int
    import_sandbox: Literal["limits", "no-network", "no-writes"]

    def journal(self, job_id: str) -> Journal:
        """The files of a job of the tenant. Raises NotFound."""
        return Journal(self.home, self.jobs.get(job_id).id)


class ServicesOf(Protocol):
    """Tenant, and the terms of jobs that are queued → what acts in it. Made by wiring, and by tests of the routes."""

    def __call__(self, tenant: str, terms: JobTerms = NO_TERMS) -> Services: ...


def _services(request: Request) -> Services:
    services_of: ServicesOf = request.app.state.services_of
    return services_of(caller(request).tenant)


Use = Annotated[Services, Depends(_services)]

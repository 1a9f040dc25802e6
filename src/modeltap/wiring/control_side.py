"""The control API of one process: everything that acts for one tenant, made when its first request comes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modeltap import __version__
from modeltap.api.services import Services
from modeltap.control.audit import AuditReport, audit
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
from modeltap.serving.router import Router
from modeltap.settings import Resolved
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.database import Database
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.files import FileRepository
from modeltap.storage.jobs import JobQueue, JobRepository
from modeltap.storage.keys import KeyRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.segments import USAGE_FOLDER
from modeltap.storage.tenants import TenantRepository
from modeltap.wiring.job_pool import job_pool, training_threads
from modeltap.wiring.listening import is_loopback

MAX_TENANTS_KEPT = 1000


@dataclass(frozen=True)
class Hub:
    """What the control side asks of the process that keeps the home. Each blocks its thread until it is done."""

    changed: Callable[[], None]
    """Serve what the database has now."""
    wake_jobs: Callable[[], None]


class ControlSide:
    def __init__(
        self,
        resolved: Resolved,
        database: Database,
        artifacts: ArtifactStore,
        router: Router,
        pepper: bytes,
        hub: Hub,
        *,
        started_at: str,
        closing: threading.Event,
    ) -> None:
        self._resolved = resolved
        self._database = database
        self._artifacts = artifacts
        self._router = router
        self._pepper = pepper
        self._hub = hub
        self._started_at = started_at
        self._closing = closing
        self._pool = job_pool(resolved.settings)
        self._tenants = Tenants(TenantRepository(database), hub.changed)
        self._upkeep = Upkeep(database, artifacts)
        self._usage_folder = resolved.settings.home / USAGE_FOLDER
        self._usage = Usage(database, self._usage_folder)
        self._made: dict[str, Services] = {}

    def of(self, tenant: str, terms: JobTerms = NO_TERMS) -> Services:
        """What acts in this tenant, and queues jobs on these terms."""
        if terms != NO_TERMS:
            return self._make(tenant, terms)
        found = self._made.get(tenant)
        if found is None:
            if len(self._made) >= MAX_TENANTS_KEPT:
                self._made.clear()
            found = self._made[tenant] = self._make(tenant, terms)
        return found

    def sweep_uploads(self) -> None:
        self._upkeep.sweep_uploads()

    def _make(self, tenant: str, terms: JobTerms) -> Services:
        settings = self._resolved.settings
        database, hub = self._database, self._hub
        datasets, models = DatasetRepository(database, tenant), ModelRepository(database, tenant)
        jobs = JobRepository(database, tenant, terms)
        threads = terms.threads or training_threads(settings)
        deployments = DeploymentRepository(database, tenant)
        stored = FileRepository(database, tenant)
        files = Files(settings.home, stored, self._artifacts, max_upload_bytes=settings.max_upload_bytes)
        return Services(
            datasets=Datasets(settings.home, datasets, self._artifacts, jobs, hub.wake_jobs),
            trainings=Trainings(
                datasets,
                models,
                jobs,
                hub.wake_jobs,
                threads=threads,
                checkpoint_every_s=settings.checkpoint_every_s,
            ),
            tunings=Tunings(
                settings.home,
                datasets,
                models,
                jobs,
                hub.wake_jobs,
                threads=training_threads(settings),
                checkpoint_every_s=settings.checkpoint_every_s,
            ),
            compressions=Compressions(
                datasets,
                models,
                self._artifacts,
                jobs,
                hub.wake_jobs,
                checkpoint_every_s=settings.checkpoint_every_s,
            ),
            models=Models(models, self._artifacts),
            deployments=Deployments(
                deployments,
                models,
                self._artifacts,
                hub.changed,
                is_loopback=is_loopback(settings.host),
            ),
            upstreams=UpstreamVersions(
                models, self._artifacts, hosts=settings.upstream_hosts, programs=settings.upstream_programs
            ),
            batches=Batches(settings.home, deployments, self._artifacts, jobs, hub.wake_jobs),
            files=files,
            fine_tunings=FineTunings(
                files,
                stored,
                models,
                deployments,
                self._artifacts,
                jobs,
                hub.wake_jobs,
                threads=threads,
                checkpoint_every_s=settings.checkpoint_every_s,
            ),
            request_batches=RequestBatches(settings.home, files, stored, self._artifacts, jobs, hub.wake_jobs),
            keys=Keys(tenant, KeyRepository(database, tenant), self._pepper, hub.changed),
            jobs=jobs,
            tenants=self._tenants,
            usage=self._usage,
            audit=self._audit,
            currency=settings.currency,
            upkeep=self._upkeep,
            router=self._router,
            home=settings.home,
            standings=lambda: JobQueue(database).standings(self._pool, datetime.now(UTC)),
            wake_jobs=hub.wake_jobs,
            describe_server=self._describe,
            closing=self._closing,
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            import_sandbox=settings.import_sandbox,
        )

    def _audit(self) -> AuditReport:
        return audit(self._database, self._usage_folder)

    def _describe(self) -> dict[str, Any]:
        settings = self._resolved.settings.shown()
        return {
            "version": __version__,
            "pid": os.getpid() if self._resolved.settings.workers == 1 else os.getppid(),
            "home": str(self._resolved.settings.home),
            "started_at": self._started_at,
            "background": self._resolved.settings.idle_exit_s is not None,
            "settings": {name: {"value": value, "source": self._resolved.sources[name]} for name, value in settings.items()},
        }

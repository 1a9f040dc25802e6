"""A home without a server: data is added, trained on and served in this process, by the steps and the application of the real
ones."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from modeltap.api.app import App
from modeltap.control.datasets import Datasets, parse_import_options
from modeltap.control.trainings import Trainings
from modeltap.control.usage import Usage
from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.job import Job
from modeltap.domain.quota import QuotaBook
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.runner.kinds import step_for
from modeltap.runner.steps import Step
from modeltap.serving.limits import OwnLimits
from modeltap.settings import Settings
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database
from modeltap.storage.segments import USAGE_FOLDER
from modeltap.telemetry.scrape import Scrape
from modeltap.wiring.data_side import DataSide
from modeltap.wiring.metering import open_metering
from modeltap.wiring.watching import Watching

KEY = "mt-admin-of-the-tests"
PEPPER = bytes(32)
MAX_BODY_BYTES = 1 << 20


class Workshop:
    """One home and one tenant in it; every step is done at once, in this process."""

    def __init__(self, home: Path, tenant: str = DEFAULT_TENANT) -> None:
        self.home = home
        self.database = open_database(home)
        self.artifacts = ArtifactStore(home / "artifacts")
        self.jobs = JobRepository(self.database, tenant)
        self.models = ModelRepository(self.database, tenant)
        datasets = DatasetRepository(self.database, tenant)
        self._datasets = Datasets(home, datasets, self.artifacts, self.jobs, lambda: None)
        self._trainings = Trainings(datasets, self.models, self.jobs, lambda: None, threads=1, checkpoint_every_s=10.0)

    def add(self, name: str, content: bytes | str, filename: str = "table.csv", **options: Any) -> dict[str, Any]:
        """What the import says of the dataset."""
        upload = self._datasets.new_upload()
        upload.write_bytes(content.encode() if isinstance(content, str) else content)
        given = parse_import_options({"columns": [], "missing": [], "kinds": {}, **options})
        return self._do(self._datasets.start_import(name, filename, upload, given))

    def train(self, dataset: str, task: str | None = None, recipe: Any = None, **more: Any) -> dict[str, Any]:
        """What the training says of the version."""
        return self._do(self._trainings.start_training(dataset, task=task, recipe=recipe, **more))

    def evaluate(self, model: str, dataset: str, **more: Any) -> dict[str, Any]:
        return self._do(self._trainings.start_evaluation(model, dataset, **more))

    def files(self, ref: str) -> dict[str, Path]:
        """The bundle of a version, by file name."""
        return self.artifacts.paths(self.models.get(ref).digest)

    def route(self, ref: str) -> Route:
        version = self.models.get(ref)
        return Route(model=version.name, version=version.version, digest=version.digest)

    def close(self) -> None:
        self.database.close()

    def _do(self, job: Job) -> dict[str, Any]:
        folder = self.home / "jobs" / job.id
        folder.mkdir(parents=True)
        step = Step(
            job=job,
            home=self.home,
            database=self.database,
            artifacts=self.artifacts,
            workdir=folder,
            report=lambda _progress: None,
            stop_requested=lambda: False,
        )
        return step_for(job)(step)


class Plane:
    """The data plane over the versions of a workshop, spoken to as a client does, without a socket."""

    def __init__(self, workshop: Workshop, served: Mapping[str, str], *, default: str | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        now = datetime.now(UTC)
        deployments = {
            name: Deployment(
                name=name, routes=(workshop.route(ref),), is_default=name == default, created_at=now, updated_at=now
            )
            for name, ref in served.items()
        }
        self.run(self._open(workshop, DeploymentSnapshot(deployments={DEFAULT_TENANT: deployments})))
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://plane", headers={"authorization": f"Bearer {KEY}"}
        )

    async def _open(self, workshop: Workshop, snapshot: DeploymentSnapshot) -> None:
        settings = Settings(home=workshop.home, max_body_bytes=MAX_BODY_BYTES)
        limits = OwnLimits(QuotaBook())
        self.metering = open_metering(settings, limits.book, time.time)
        usage = Usage(workshop.database, workshop.home / USAGE_FOLDER)
        self.watching = Watching("server", time.time)
        self.data = DataSide(
            settings,
            workshop.artifacts,
            limits,
            self.metering,
            usage,
            self.watching.watch,
            admin_key=KEY,
            pepper=PEPPER,
            wall=time.time,
        )
        self.router = self.data.router
        await self.data.publish(snapshot)
        self.app = App(
            guard=self.data.guard,
            door=self.data.door,
            control=_no_control,
            activity=self.data.activity,
            max_body_bytes=MAX_BODY_BYTES,
            metrics=self._numbers,
        )

    async def _numbers(self) -> bytes:
        return Scrape().render([self.watching.metrics.dump()])

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.run(self._client.request(method, path, **more))

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def close(self) -> None:
        self.run(self._client.aclose())
        self.run(self.router.close())
        self.metering.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _no_control(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})

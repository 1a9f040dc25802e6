"""A home without a server: data is added, trained on and served in this process, by the steps and the application of the real
ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from modeltap.api.app import Activity, App
from modeltap.api.guard import Guard
from modeltap.api.inference import InferencePlane
from modeltap.api.predict import PredictPlane
from modeltap.control.datasets import Datasets, parse_import_options
from modeltap.control.trainings import Trainings
from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.job import Job
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.runner.kinds import step_for
from modeltap.runner.steps import Step
from modeltap.serving.replica import Replica
from modeltap.serving.router import Router
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database

KEY = "mt-admin-of-the-tests"
MAX_BODY_BYTES = 1 << 20


class Workshop:
    """One home; every step is done at once, in this process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = open_database(home)
        self.artifacts = ArtifactStore(home / "artifacts")
        self.jobs = JobRepository(self.database)
        self.models = ModelRepository(self.database)
        datasets = DatasetRepository(self.database)
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

    def replica(self, ref: str) -> Replica:
        version = self.models.get(ref)
        return Replica(version.id, self.files(version.id))

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
        return step_for(job.kind)(step)


class Plane:
    """The data plane over the versions of a workshop, spoken to as a client does, without a socket."""

    def __init__(self, workshop: Workshop, served: Mapping[str, str], *, default: str | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.router = Router(lambda route: Replica(f"{route.model}@{route.version}", workshop.artifacts.paths(route.digest)))
        now = datetime.now(UTC)
        deployments = {
            name: Deployment(
                name=name, routes=(workshop.route(ref),), is_default=name == default, created_at=now, updated_at=now
            )
            for name, ref in served.items()
        }
        self.run(self.router.publish(DeploymentSnapshot(deployments)))
        self.app = App(
            guard=Guard(KEY),
            predict=PredictPlane(self.router, max_body_bytes=MAX_BODY_BYTES),
            inference=InferencePlane(self.router, max_body_bytes=MAX_BODY_BYTES),
            control=_no_control,
            activity=Activity(),
            max_body_bytes=MAX_BODY_BYTES,
        )
        transport = httpx.ASGITransport(self.app)
        self._client = httpx.AsyncClient(
            transport=transport, base_url="http://plane", headers={"authorization": f"Bearer {KEY}"}
        )

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
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _no_control(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})

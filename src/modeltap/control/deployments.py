"""Deployments: a version is tried in a child process first; only then does its name lead to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.names import parse_name
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.engines.probation import try_bundle
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.models import ModelRepository


class Deployments:
    """`publish` hands the new snapshot to serving and comes back when it is served."""

    def __init__(
        self,
        deployments: DeploymentRepository,
        models: ModelRepository,
        artifacts: ArtifactStore,
        publish: Callable[[DeploymentSnapshot], None],
    ) -> None:
        self._deployments = deployments
        self._models = models
        self._artifacts = artifacts
        self._publish = publish

    def deploy(self, name: str, model_ref: str, *, is_default: bool | None = None) -> Deployment:
        """The deployment, serving. Raises NotFound for the version, GoldenMismatch or Broken if it fails its trial; then
        the name leads where it led before."""
        parse_name("deployment", name)
        version = self._models.get(model_ref)
        try_bundle(self._artifacts.paths(version.digest))
        route = Route(model=version.name, version=version.version, digest=version.digest)
        deployment = self._deployments.put(name, [route], datetime.now(UTC), is_default=is_default)
        self._publish(self.snapshot())
        return deployment

    def rollback(self, name: str) -> Deployment:
        """The deployment on the version it had before. Raises NotFound, Conflict if there was none, GoldenMismatch."""
        for route in self._deployments.get(name).previous:
            try_bundle(self._artifacts.paths(route.digest))
        deployment = self._deployments.rollback(name, datetime.now(UTC))
        self._publish(self.snapshot())
        return deployment

    def remove(self, name: str) -> None:
        """The name leads nowhere. Raises NotFound."""
        self._deployments.remove(name)
        self._publish(self.snapshot())

    def get(self, name: str) -> Deployment:
        return self._deployments.get(name)

    def snapshot(self) -> DeploymentSnapshot:
        """Every deployment as the database has it now."""
        return DeploymentSnapshot({deployment.name: deployment for deployment in self._deployments.list()})

"""Deployments of one tenant: a version is tried in a child process first; only then does its name lead to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from modeltap.bundle.upstream import UPSTREAM
from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.model import ModelVersion
from modeltap.domain.names import parse_name
from modeltap.engines.probation import try_bundle
from modeltap.errors import Conflict, Refused
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.models import ModelRepository


class Deployments:
    """Bound to the tenant of its repositories. `publish` comes back when what is in the database is served."""

    def __init__(
        self,
        deployments: DeploymentRepository,
        models: ModelRepository,
        artifacts: ArtifactStore,
        publish: Callable[[], None],
        *,
        is_loopback: bool,
    ) -> None:
        """`is_loopback`: whether only this machine reaches the server."""
        self._deployments = deployments
        self._models = models
        self._artifacts = artifacts
        self._publish = publish
        self._is_loopback = is_loopback

    def deploy(
        self,
        name: str,
        model_ref: str,
        *,
        is_default: bool | None = None,
        terms: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> Deployment:
        """The deployment, serving. `terms` are fields of Terms that change; the others stay as they were.

        Raises NotFound for the version, InvalidInput for a term, Refused for a public one that strangers could reach unless
        `force` says so, Conflict for a public name that is taken and, unless `force` says so, for a version that was
        rejected, GoldenMismatch or Broken if the version fails its trial;
        then the name leads where it led before.
        """
        parse_name("deployment", name)
        if terms and terms.get("is_public") and not self._is_loopback and not force:
            raise Refused(
                "a public deployment answers without a key, and other machines reach this server; say that you mean it with"
                ' --force ("force": true), or serve on 127.0.0.1'
            )
        version = self._models.get(model_ref)
        if version.state == "rejected" and not force:
            raise Conflict(f'{version.id} was rejected{_reasons(version)}; say that you want it with --force ("force": true)')
        self._try(version.digest)
        route = Route(model=version.name, version=version.version, digest=version.digest)
        deployment = self._deployments.put(name, [route], datetime.now(UTC), is_default=is_default, terms=terms)
        self._publish()
        return deployment

    def rollback(self, name: str) -> Deployment:
        """The deployment on the version it had before. Raises NotFound, Conflict if there was none, GoldenMismatch."""
        for route in self._deployments.get(name).previous:
            self._try(route.digest)
        deployment = self._deployments.rollback(name, datetime.now(UTC))
        self._publish()
        return deployment

    def _try(self, digest: str) -> None:
        files = self._artifacts.paths(digest)
        if UPSTREAM not in files:  # a server elsewhere has no rows that are known before
            try_bundle(files)

    def remove(self, name: str) -> None:
        """The name leads nowhere. Raises NotFound."""
        self._deployments.remove(name)
        self._publish()

    def get(self, name: str) -> Deployment:
        """Raises NotFound."""
        return self._deployments.get(name)

    def list(self) -> Sequence[Deployment]:
        """All of the tenant, by name."""
        return self._deployments.list()


def _reasons(version: ModelVersion) -> str:
    certificate = version.manifest.certificate
    return f": {'; '.join(certificate.reasons)}" if certificate and certificate.reasons else ""

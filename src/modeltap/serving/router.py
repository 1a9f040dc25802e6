"""Deployment name → warm replica. Control publishes a snapshot; the router loads what it names and lets go of the rest.

A version's replica is shared by every deployment that routes to it. While a name is switched to another version, the old
one answers until the new one is warm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.errors import Broken, ModeltapError, Unavailable
from modeltap.serving.replica import Replica

_log = logging.getLogger(__name__)

Status = Literal["ready", "loading", "failed"]
OpenReplica = Callable[[Route], Replica]
DRAIN_S = 30.0
DRAIN_STEP_S = 0.01


class Router:
    """Lives on one event loop. `open_replica` may block: it runs on a thread."""

    def __init__(self, open_replica: OpenReplica) -> None:
        self._open_replica = open_replica
        self._snapshot = DeploymentSnapshot({})
        self._replicas: dict[str, Replica] = {}
        self._failures: dict[str, ModeltapError] = {}
        self._serving: dict[str, str] = {}
        self._changing = asyncio.Lock()

    async def publish(self, snapshot: DeploymentSnapshot) -> None:
        """Serve the snapshot: new versions are loaded first, then names are switched, then unused replicas closed."""
        async with self._changing:
            self._snapshot = snapshot
            for deployment in snapshot.deployments.values():
                route = deployment.routes[0]
                await self._load(route)
                if route.digest in self._replicas:
                    self._serving[deployment.name] = route.digest
            for name in set(self._serving) - set(snapshot.deployments):
                del self._serving[name]
            await self._close_unused()

    def status(self, deployment: Deployment) -> Status:
        """Whether requests to it are answered by the version it names."""
        digest = deployment.routes[0].digest
        if self._serving.get(deployment.name) == digest:
            return "ready"
        return "failed" if digest in self._failures else "loading"

    def find(self, name: str | None) -> Replica:
        """The replica that answers for this name. Raises NotFound, or Unavailable while it is being loaded or has failed."""
        deployment = self._snapshot.find(name)
        digest = self._serving.get(deployment.name)
        if digest is not None:
            return self._replicas[digest]
        failure = self._failures.get(deployment.routes[0].digest)
        if failure is not None:
            raise Unavailable(f"'{deployment.name}' could not be loaded: {failure.message}")
        raise Unavailable(f"'{deployment.name}' is being loaded; try again in a second")

    def deployments(self) -> dict[str, Deployment]:
        return self._snapshot.deployments

    async def close(self) -> None:
        """Closes every replica after what runs on it."""
        async with self._changing:
            self._serving.clear()
            self._snapshot = DeploymentSnapshot({})
            await self._close_unused()

    async def _load(self, route: Route) -> None:
        if route.digest in self._replicas:
            return
        try:
            self._replicas[route.digest] = await asyncio.to_thread(self._open_replica, route)
            self._failures.pop(route.digest, None)
        except ModeltapError as failure:
            self._failures[route.digest] = failure
        except Exception:  # noqa: BLE001  one version that cannot be loaded must not keep the others from it
            _log.exception("%s@%s could not be loaded", route.model, route.version)
            self._failures[route.digest] = Broken("the server's log has the reason")

    async def _close_unused(self) -> None:
        used = set(self._serving.values())
        for digest in [d for d in self._replicas if d not in used]:
            replica = self._replicas.pop(digest)
            for _ in range(int(DRAIN_S / DRAIN_STEP_S)):
                if not replica.in_flight:
                    break
                await asyncio.sleep(DRAIN_STEP_S)
            await asyncio.to_thread(replica.close)

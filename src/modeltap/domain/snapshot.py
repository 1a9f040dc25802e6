"""The one value that control hands to serving: every deployment, as it should be now."""

from __future__ import annotations

import msgspec

from modeltap.domain.deployment import Deployment
from modeltap.errors import NotFound


class DeploymentSnapshot(msgspec.Struct, frozen=True):
    deployments: dict[str, Deployment]

    def find(self, name: str | None) -> Deployment:
        """The deployment of that name; without one the default, or the only one. Raises NotFound saying what there is."""
        if name is not None:
            if name in self.deployments:
                return self.deployments[name]
            raise NotFound.named("deployment", name, self.deployments)
        marked = [d for d in self.deployments.values() if d.is_default]
        if marked or len(self.deployments) == 1:
            return marked[0] if marked else next(iter(self.deployments.values()))
        if not self.deployments:
            raise NotFound("nothing is deployed; deploy a version: modeltap deploy NAME@1 --name NAME")
        raise NotFound(f"several deployments and none is the default; name one: {', '.join(sorted(self.deployments))}")

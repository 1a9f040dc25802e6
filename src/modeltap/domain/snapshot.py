"""The one value that control hands to serving: every deployment, tenant and key, as they should be now."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from modeltap.domain.deployment import Deployment
from modeltap.domain.tenant import Key, Tenant
from modeltap.errors import NotFound


class DeploymentSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    deployments: dict[str, dict[str, Deployment]] = {}
    """Tenant → name → deployment."""
    tenants: dict[str, Tenant] = {}
    keys: dict[str, Key] = {}
    """By id; also the revoked and the expired, so that their refusal can say so."""

    def find(self, tenant: str, name: str | None, *, models: Collection[str] | None = None) -> Deployment:
        """The tenant's deployment of that name; without one the default, or the only one. Raises NotFound, which says what
        there is, but to a caller that is only for `models` nothing of others."""
        own = self.deployments.get(tenant, {})
        told = own if models is None else [known for known in own if known in models]
        if name is not None:
            found = own.get(name)
            if found is None:
                raise NotFound.named("deployment", name, told)
            return found
        marked = [d for d in own.values() if d.is_default]
        if marked or len(own) == 1:
            return marked[0] if marked else next(iter(own.values()))
        if not own:
            raise NotFound("nothing is deployed; deploy a version: modeltap deploy NAME@1 --name NAME")
        raise NotFound(f"several deployments and none is the default; name one: {', '.join(sorted(told))}")

    def find_public(self, name: str | None) -> Deployment | None:
        """The deployment of that name that needs no key, whoever owns it; without a name, the only one that needs none."""
        public = [d for own in self.deployments.values() for d in own.values() if d.terms.is_public]
        if name is None:
            marked = [d for d in public if d.is_default] or public
            return marked[0] if len(marked) == 1 else None
        return next((d for d in public if d.name == name), None)

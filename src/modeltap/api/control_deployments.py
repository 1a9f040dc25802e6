"""/api/deployments: deploy, list, show, roll back, remove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from modeltap.api.access import caller
from modeltap.api.control_terms import TermsBody, terms_facts
from modeltap.api.services import Services, Use
from modeltap.domain.deployment import Deployment
from modeltap.domain.tenant import Principal
from modeltap.errors import Forbidden, InvalidInput

router = APIRouter(tags=["deployments"])


class UpstreamBody(BaseModel):
    """A server elsewhere: at `url`, or started by `command`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    url: str = ""
    command: list[str] = []
    model: str = ""
    key_variable: str = ""
    variables: list[str] = []
    context_tokens: int = 0
    max_streams: int = 0


class DeployRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    model: str = ""
    upstream: UpstreamBody | None = None
    default: bool | None = None
    terms: TermsBody = TermsBody()
    force: bool = False


@router.post("/deployments", status_code=201)
def deploy(request: DeployRequest, services: Use, principal: Annotated[Principal, Depends(caller)]) -> dict[str, Any]:
    """Let the name lead to this version, once its golden rows were repeated; terms that are not named stay as they were. With
    `upstream`, which takes the home's admin key, to a server elsewhere, as a version of `model` or of the name itself."""
    model = request.model
    if request.upstream is not None:
        if not principal.is_root:
            raise Forbidden("an upstream is reached with this server's own means; it takes the home's admin key")
        fields = request.upstream.model_dump(exclude_unset=True)
        model = services.upstreams.register(model or request.name, fields).id
    elif not model:
        raise InvalidInput("name the version to deploy, or an upstream", fields=[("model", "is missing")])
    deployment = services.deployments.deploy(
        request.name, model, is_default=request.default, terms=request.terms.changes(), force=request.force
    )
    return _facts([deployment], services)[0]


@router.get("/deployments")
def list_deployments(services: Use) -> dict[str, Any]:
    return {"deployments": _facts(services.deployments.list(), services)}


@router.get("/deployments/{name}")
def show_deployment(name: str, services: Use) -> dict[str, Any]:
    return _facts([services.deployments.get(name)], services)[0]


@router.post("/deployments/{name}/rollback")
def rollback(name: str, services: Use) -> dict[str, Any]:
    """Back to the version it had before."""
    return _facts([services.deployments.rollback(name)], services)[0]


@router.delete("/deployments/{name}")
def undeploy(name: str, services: Use) -> dict[str, Any]:
    services.deployments.remove(name)
    return {"removed": name}


def _facts(deployments: Sequence[Deployment], services: Services) -> list[dict[str, Any]]:
    """Each as clients see it; none is loaded for that, and there is one look into the database for all."""
    manifests = services.models.manifests({deployment.routes[0].digest for deployment in deployments})
    told = []
    for deployment in deployments:
        facts: dict[str, Any] = {"id": deployment.name, **msgspec.to_builtins(deployment)}
        facts["terms"] = terms_facts(deployment.terms)
        facts["status"] = services.router.status(deployment)
        facts["url"] = f"/predict/{deployment.name}"
        reason = services.router.failure(deployment)
        if reason is not None:
            facts["reason"] = reason
        manifest = manifests.get(deployment.routes[0].digest)
        if manifest is not None:
            facts["signature"] = msgspec.to_builtins(manifest.signature)
            facts["task"] = manifest.task
            facts["labels"] = list(manifest.labels)
            if manifest.language is not None:
                facts["language"] = msgspec.to_builtins(manifest.language)
        told.append(facts)
    return told

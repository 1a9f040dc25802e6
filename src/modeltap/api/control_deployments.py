"""/api/deployments: deploy, list, show, roll back, remove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from modeltap.api.control_terms import TermsBody, terms_facts
from modeltap.api.services import Services, Use
from modeltap.domain.deployment import Deployment

router = APIRouter(tags=["deployments"])


class DeployRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    model: str
    default: bool | None = None
    terms: TermsBody = TermsBody()
    force: bool = False


@router.post("/deployments", status_code=201)
def deploy(request: DeployRequest, services: Use) -> dict[str, Any]:
    """Let the name lead to this version, once its golden rows were repeated; terms that are not named stay as they were."""
    deployment = services.deployments.deploy(
        request.name, request.model, is_default=request.default, terms=request.terms.changes(), force=request.force
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
        told.append(facts)
    return told

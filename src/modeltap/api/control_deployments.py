"""/api/deployments: deploy, list, show, roll back, remove."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from modeltap.api.services import Services, Use
from modeltap.domain.deployment import Deployment
from modeltap.errors import Unavailable

router = APIRouter(tags=["deployments"])


class DeployRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    model: str
    default: bool | None = None


@router.post("/deployments", status_code=201)
def deploy(request: DeployRequest, services: Use) -> dict[str, Any]:
    """Let the name lead to this version, once its golden rows were repeated."""
    return _facts(services.deployments.deploy(request.name, request.model, is_default=request.default), services)


@router.get("/deployments")
def list_deployments(services: Use) -> dict[str, Any]:
    snapshot = services.deployments.snapshot()
    return {"deployments": [_facts(deployment, services) for deployment in snapshot.deployments.values()]}


@router.get("/deployments/{name}")
def show_deployment(name: str, services: Use) -> dict[str, Any]:
    return _facts(services.deployments.get(name), services)


@router.post("/deployments/{name}/rollback")
def rollback(name: str, services: Use) -> dict[str, Any]:
    """Back to the version it had before."""
    return _facts(services.deployments.rollback(name), services)


@router.delete("/deployments/{name}")
def undeploy(name: str, services: Use) -> dict[str, Any]:
    services.deployments.remove(name)
    return {"removed": name}


def _facts(deployment: Deployment, services: Services) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": deployment.name, **msgspec.to_builtins(deployment)}
    facts["status"] = services.router.status(deployment)
    facts["url"] = f"/predict/{deployment.name}"
    try:
        replica = services.router.find(deployment.name)
    except Unavailable as reason:
        facts["reason"] = reason.message
    else:
        facts["signature"] = msgspec.to_builtins(replica.signature)
        facts["task"] = replica.manifest.task
        facts["labels"] = list(replica.manifest.labels)
    return facts

"""/api/tenants: create, list, show, limit and remove tenants, by the home's admin key alone."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from modeltap.api.control_terms import LimitsBody, limits_facts
from modeltap.api.services import Use
from modeltap.domain.tenant import Tenant

router = APIRouter(tags=["tenants"])


class TenantRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    limits: LimitsBody = LimitsBody()


class TenantLimitsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    limits: LimitsBody


@router.post("/tenants", status_code=201)
def create_tenant(request: TenantRequest, services: Use) -> dict[str, Any]:
    """A new tenant, which owns nothing yet."""
    return tenant_facts(services.tenants.create(request.name, request.limits.changes()))


@router.get("/tenants")
def list_tenants(services: Use) -> dict[str, Any]:
    """All of them, by name."""
    return {"tenants": [tenant_facts(tenant) for tenant in services.tenants.list()]}


@router.get("/tenants/{name}")
def show_tenant(name: str, services: Use) -> dict[str, Any]:
    """One tenant with its limits."""
    return tenant_facts(services.tenants.get(name))


@router.patch("/tenants/{name}")
def limit_tenant(name: str, request: TenantLimitsRequest, services: Use) -> dict[str, Any]:
    """Change the limits that are named; null takes one away."""
    return tenant_facts(services.tenants.set_limits(name, request.limits.changes()))


@router.delete("/tenants/{name}")
def remove_tenant(name: str, services: Use) -> dict[str, Any]:
    """Remove a tenant that owns nothing; its ended jobs and revoked keys go with it."""
    services.tenants.remove(name)
    return {"removed": name}


def tenant_facts(tenant: Tenant) -> dict[str, Any]:
    """The tenant as clients see it."""
    facts: dict[str, Any] = msgspec.to_builtins(tenant)
    return {"id": tenant.name, **facts, "limits": limits_facts(tenant.limits)}

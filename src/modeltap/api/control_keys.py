"""/api/keys: create, list, show, limit, rotate and revoke the keys of the tenant that is acted in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from modeltap.api.control_terms import LimitsBody, limits_facts
from modeltap.api.services import Use
from modeltap.domain.key import ROTATION_GRACE, is_live, key_state
from modeltap.domain.tenant import SCOPES, Key

router = APIRouter(tags=["keys"])
MAX_LIFE_S = 10 * 366 * 24 * 3600
MAX_GRACE_S = 30 * 24 * 3600
MAX_MODELS = 1000


class KeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    label: str = ""
    scopes: Annotated[list[str], Field(max_length=len(SCOPES))] = ["predict"]
    models: Annotated[list[str], Field(max_length=MAX_MODELS)] | None = None
    limits: LimitsBody = LimitsBody()
    expires_in_s: Annotated[int, Field(ge=1, le=MAX_LIFE_S)] | None = None


class KeyLimitsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    limits: LimitsBody


class RotateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    grace_s: Annotated[int, Field(ge=0, le=MAX_GRACE_S)] = int(ROTATION_GRACE.total_seconds())


@router.post("/keys", status_code=201)
def create_key(request: KeyRequest, services: Use) -> dict[str, Any]:
    """A new key. Its text, `key`, is in this answer and nowhere else."""
    key, text = services.keys.create(
        label=request.label,
        scopes=request.scopes,
        models=request.models,
        limits=request.limits.changes(),
        expires_in=None if request.expires_in_s is None else timedelta(seconds=request.expires_in_s),
    )
    return {**key_facts(key), "key": text}


@router.get("/keys")
def list_keys(services: Use) -> dict[str, Any]:
    """The newest first, also the revoked and the expired."""
    return {"keys": [key_facts(key) for key in services.keys.list()]}


@router.get("/keys/{key_id}")
def show_key(key_id: str, services: Use) -> dict[str, Any]:
    """One key with its limits, never with its secret."""
    return key_facts(services.keys.get(key_id))


@router.patch("/keys/{key_id}")
def limit_key(key_id: str, request: KeyLimitsRequest, services: Use) -> dict[str, Any]:
    """Change the limits that are named; null takes one away."""
    return key_facts(services.keys.set_limits(key_id, request.limits.changes()))


@router.post("/keys/{key_id}/rotate")
def rotate_key(key_id: str, services: Use, request: RotateRequest | None = None) -> dict[str, Any]:
    """A new text for the key, in this answer and nowhere else; the one before it opens for `grace_s` more."""
    grace = timedelta(seconds=(request or RotateRequest()).grace_s)
    key, text = services.keys.rotate(key_id, grace)
    return {**key_facts(key), "key": text}


@router.delete("/keys/{key_id}")
def revoke_key(key_id: str, services: Use) -> dict[str, Any]:
    """Let the key open nothing from now on."""
    return key_facts(services.keys.revoke(key_id))


def key_facts(key: Key) -> dict[str, Any]:
    """The key as clients see it: of its secrets only since when and until when they open."""
    now = datetime.now(UTC)
    facts: dict[str, Any] = msgspec.to_builtins(key)
    facts["limits"] = limits_facts(key.limits)
    facts["state"] = key_state(key, now)
    live = [secret for secret in key.secrets if is_live(secret, now)]
    facts["secrets"] = [msgspec.to_builtins({"created_at": s.created_at, "expires_at": s.expires_at}) for s in live]
    return facts

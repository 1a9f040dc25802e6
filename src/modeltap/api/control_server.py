"""/api/server, /api/gc and /api/backup."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from modeltap.api.control_models import read_chunks
from modeltap.api.services import Use
from modeltap.control.upkeep import GRACE_S

router = APIRouter(tags=["server"])


class CollectRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    grace_s: float = Field(default=GRACE_S, ge=0)


@router.get("/server")
def describe_server(services: Use) -> dict[str, Any]:
    """Version, process, home and settings with their source."""
    return services.describe_server()


@router.post("/gc")
def collect_garbage(services: Use, request: CollectRequest | None = None) -> dict[str, Any]:
    """Remove artifacts that nothing refers to."""
    result = services.upkeep.collect(GRACE_S if request is None else request.grace_s)
    facts: dict[str, Any] = msgspec.to_builtins(result)
    return facts


@router.get("/backup")
def download_backup(services: Use) -> StreamingResponse:
    """The whole home as a tar, consistent while the server runs."""
    return StreamingResponse(read_chunks(services.upkeep.backup()), media_type="application/x-tar")

"""/api/models and /api/compare: list, show, export, report, recipe, aliases, remove."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from modeltap.api.services import Use
from modeltap.errors import InvalidInput

router = APIRouter(tags=["models"])
CHUNK_BYTES = 1 << 20


class AliasRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    version: int = Field(ge=1, le=999_999_999)


@router.get("/models")
def list_models(services: Use) -> dict[str, Any]:
    """Every model with its newest version."""
    return {"models": services.models.newest()}


@router.get("/compare")
def compare_models(refs: str, services: Use) -> dict[str, Any]:
    """Versions side by side: metrics, and where their recipes differ."""
    named = [ref for ref in refs.split(",") if ref]
    if len(named) < 2:
        raise InvalidInput("name at least two versions to compare: refs=adult@1,adult@2")
    return services.models.compare(named)


@router.get("/models/{ref}")
def show_model(ref: str, services: Use) -> dict[str, Any]:
    """One version; a bare name is the newest."""
    return services.models.describe(ref)


@router.get("/models/{ref}/report", response_class=HTMLResponse)
def model_report(ref: str, services: Use) -> Response:
    """The HTML report of its evaluation on the test part."""
    return HTMLResponse(services.models.report(ref))


@router.get("/models/{ref}/recipe")
def model_recipe(ref: str, services: Use) -> Response:
    """The full recipe it was trained with, as YAML."""
    return Response(services.models.recipe(ref), media_type="application/yaml")


@router.get("/models/{ref}/export")
def export_model(ref: str, services: Use) -> StreamingResponse:
    """The bundle's files as a zip."""
    version, archive = services.models.export(ref)
    headers = {"content-disposition": f'attachment; filename="{version.name}-{version.version}.zip"'}
    return StreamingResponse(read_chunks(archive), media_type="application/zip", headers=headers)


@router.put("/models/{name}/aliases/{alias}")
def set_alias(name: str, alias: str, request: AliasRequest, services: Use) -> dict[str, Any]:
    """Let name@alias mean this version."""
    return services.models.set_alias(name, alias, request.version)


@router.delete("/models/{name}/aliases/{alias}")
def remove_alias(name: str, alias: str, services: Use) -> dict[str, Any]:
    services.models.remove_alias(name, alias)
    return {"removed": alias}


@router.delete("/models/{ref}")
def remove_model(ref: str, services: Use) -> dict[str, Any]:
    """Remove one version, or with a bare name all of them."""
    return {"removed": services.models.remove(ref)}


def read_chunks(archive: IO[bytes]) -> Iterator[bytes]:
    with archive:
        while chunk := archive.read(CHUNK_BYTES):
            yield chunk

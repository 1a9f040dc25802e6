"""/api/jobs of kind `tune`: what starts a search, and its trials one by one."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from modeltap.api.services import Use

router = APIRouter(tags=["jobs"])


class TuneRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Literal["tune"]
    dataset: str
    task: str | None = None
    target: str | None = None
    recipe: dict[str, Any] | str | None = None
    set: dict[str, Any] | None = None
    trials: int | None = None
    name: str | None = None


@router.get("/jobs/{job_id}/trials")
def list_trials(job_id: str, services: Use) -> dict[str, Any]:
    """The trials of a search in their order, also while it goes on: number, state, params, value, epochs, reason."""
    return {"trials": msgspec.to_builtins(services.tunings.trials(job_id))}

"""/api/datasets: upload, list, show, remove."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from modeltap.api.job_terms import UseForJobs
from modeltap.api.problems import facts_answer, status_of_code
from modeltap.api.services import Services, Use
from modeltap.control.datasets import dataset_facts, parse_import_options
from modeltap.domain.job import ENDED, Job
from modeltap.errors import InvalidInput, TooLarge, Unavailable
from modeltap.storage.disk import storage_failed

router = APIRouter(tags=["datasets"])
POLL_S = 0.05
UPLOAD_SETTING = "MODELTAP_MAX_UPLOAD_BYTES"
LONGEST_SIDE = 4096
MAX_WAIT_S = 600.0


@router.post("/datasets", status_code=201)
async def add_dataset(
    request: Request,
    services: UseForJobs,
    name: str,
    filename: str,
    target: str | None = None,
    header: bool | None = None,
    columns: str | None = None,
    delimiter: str | None = None,
    missing: Annotated[tuple[str, ...], Query()] = (),
    kind: Annotated[tuple[str, ...], Query()] = (),
    image_size: str | None = None,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 60.0,
) -> Response:
    """Store the body (a file as it is) as the next version of the dataset; 202 with the job if that takes longer than `wait`
    seconds. A zip that holds train.csv and test.csv, or folders of those names, gives a dataset with those parts."""
    given = {
        "target": target,
        "header": header,
        "columns": [c.strip() for c in columns.split(",")] if columns else [],
        "delimiter": delimiter,
        "missing": [m for entry in missing for m in entry.split(",")],
        "kinds": dict(_pair(entry) for entry in kind),
        "image_size": _size(image_size),
    }
    options = parse_import_options(given)
    upload = await asyncio.to_thread(services.datasets.new_upload)
    try:
        await spool(request, upload, services.max_upload_bytes)
        job = await asyncio.to_thread(services.datasets.start_import, name, filename, upload, options)
    except BaseException:
        upload.unlink(missing_ok=True)
        raise
    job = await _wait(services, job, wait)
    if job.state == "succeeded":
        return JSONResponse(job.result, 201)
    if job.state == "failed" and job.error is not None:
        answer = facts_answer(job.error, status_of_code(job.error["code"]), request.url.path)
        return Response(answer.body, answer.status, media_type=answer.content_type.decode())
    return JSONResponse({"job": msgspec.to_builtins(job)}, 202)


@router.get("/datasets")
def list_datasets(services: Use) -> dict[str, Any]:
    """The newest version of every dataset."""
    return {"datasets": [dataset_facts(dataset) for dataset in services.datasets.newest()]}


@router.get("/datasets/{ref}")
def show_dataset(ref: str, services: Use) -> dict[str, Any]:
    """One version with its profile; a bare name is the newest."""
    return services.datasets.describe(ref)


@router.delete("/datasets/{ref}")
def remove_dataset(ref: str, services: Use) -> dict[str, Any]:
    """Remove one version, or with a bare name all of them."""
    return {"removed": services.datasets.remove(ref)}


async def spool(request: Request, upload: Path, limit_bytes: int) -> None:
    """Writes the request's body to a file. Raises TooLarge, Unavailable if the client went away, StorageFailed."""
    size = 0
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise TooLarge(given_bytes=int(declared), limit_bytes=limit_bytes, setting=UPLOAD_SETTING)
    try:
        with upload.open("wb") as target:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit_bytes:
                    raise TooLarge(given_bytes=None, limit_bytes=limit_bytes, setting=UPLOAD_SETTING)
                await asyncio.to_thread(target.write, chunk)
    except OSError as problem:
        raise storage_failed("keeping the upload", problem) from None
    except Exception as problem:
        if type(problem).__name__ == "ClientDisconnect":
            raise Unavailable("the client closed the connection before the upload was complete") from None
        raise


async def _wait(services: Services, job: Job, wait_s: float) -> Job:
    deadline = asyncio.get_running_loop().time() + wait_s
    while job.state not in ENDED and asyncio.get_running_loop().time() < deadline and not services.closing.is_set():
        await asyncio.sleep(POLL_S)
        job = await asyncio.to_thread(services.jobs.get, job.id)
    return job


def _pair(entry: str) -> tuple[str, str]:
    column, _, kind = entry.rpartition(":")
    if not column or not kind:
        raise InvalidInput(f"kind '{entry}' must be COLUMN:KIND, such as zip:category")
    return column, kind


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.casefold().partition("x")
    with contextlib.suppress(ValueError):
        if 0 < int(width) <= LONGEST_SIDE and 0 < int(height) <= LONGEST_SIDE:
            return int(width), int(height)
    raise InvalidInput(f"image_size '{text[:40]}' must be WIDTHxHEIGHT, such as 28x28, of at most {LONGEST_SIDE} pixels a side")

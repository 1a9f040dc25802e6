"""/api/batches: rows in as a file, answers out as a file, and in between a job like any other."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from modeltap.api.access import caller
from modeltap.api.control_data import spool
from modeltap.api.control_jobs import job_facts
from modeltap.api.control_models import read_chunks
from modeltap.api.job_terms import UseForJobs
from modeltap.api.services import Use
from modeltap.control.batches import MAX_CHUNK_ROWS
from modeltap.data.answer_files import Form

router = APIRouter(tags=["batches"])
MEDIA_TYPES: dict[Form, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
STATE_HEADER = "modeltap-job-state"


@router.post("/batches", status_code=201)
async def start_batch(
    request: Request,
    services: UseForJobs,
    deployment: str,
    filename: str,
    format: str = "csv",  # noqa: A002  the parameter's name
    chunk_rows: Annotated[int, Query(ge=1, le=MAX_CHUNK_ROWS)] = MAX_CHUNK_ROWS,
) -> dict[str, Any]:
    """Have every row of the body (a file as it is) answered by the deployment, as a job: within the limits of the key that
    asks, and charged to it."""
    batches, principal = services.batches, caller(request)
    form = await asyncio.to_thread(batches.check, principal, deployment, filename, format)
    upload = await asyncio.to_thread(batches.new_upload)
    try:
        await spool(request, upload, services.max_upload_bytes)
        job = await asyncio.to_thread(
            lambda: batches.start(principal, deployment, filename=filename, upload=upload, form=form, chunk_rows=chunk_rows)
        )
    except BaseException:
        upload.unlink(missing_ok=True)
        raise
    return job_facts(job)


@router.get("/batches/{batch_id}/output")
def read_output(batch_id: str, request: Request, services: Use, format: str | None = None) -> StreamingResponse:  # noqa: A002
    """The answers, in the order of the rows; of a batch that was paused, cancelled or failed those that there are. The header
    `modeltap-job-state` says which."""
    file, filename, job = services.batches.output(caller(request), batch_id, format)
    headers = {
        "content-length": str(os.fstat(file.fileno()).st_size),
        "content-disposition": f'attachment; filename="{filename}"',
        STATE_HEADER: job.state,
    }
    media_type = next(kind for form, kind in MEDIA_TYPES.items() if filename.endswith(form))
    return StreamingResponse(read_chunks(file), media_type=media_type, headers=headers)

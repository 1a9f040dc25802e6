"""`client.batches`: have a whole file of rows answered, as a job on the server, and fetch the answers as a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modeltap.client.packing import Given, OnUpload, chunks_of, open_upload
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Answer, Deployment, Job, read_answer
from modeltap.errors import InvalidValue

if TYPE_CHECKING:
    from modeltap.client.jobs import Jobs, OnProgress

FORMS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
"""A file's ending → the form of the answers in it."""


class BatchResult(Answer, frozen=True, kw_only=True):
    """`refused` rows do not fit the model and were not charged; `errors` says why, of the first of them. `models` are the
    versions that answered, `cost` is a decimal text."""

    job: str
    deployment: str
    rows: int
    answered: int
    refused: int
    cost: str = "0"
    models: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Batches:
    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    def start(
        self,
        deployment: str | Deployment,
        rows: Given,
        *,
        filename: str | None = None,
        form: str = "csv",
        chunk_rows: int | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """The job that answers the rows, charged to the key of this client.

        rows: a path (CSV, TSV, JSON Lines, JSON, Parquet; a folder or .zip of pictures), bytes with their `filename`, or a data
        frame. form: csv, jsonl or parquet. chunk_rows: how many rows go together at the most.
        Raises NotFound, Forbidden, InvalidData for a file of another kind.
        """
        name = deployment.name if isinstance(deployment, Deployment) else deployment
        with open_upload(rows, filename=filename) as upload:
            params = {"deployment": name, "filename": upload.filename, "format": form, "chunk_rows": chunk_rows}
            answer = self._transport.json(
                "POST",
                "/api/batches",
                params=params,
                content=chunks_of(upload, on_upload),
                headers={"content-type": "application/octet-stream", "content-length": str(upload.size_bytes)},
            )
        return read_answer(answer, Job)

    def wait(self, job_id: str, *, on_progress: OnProgress | None = None) -> BatchResult:
        """What came of the rows. Raises the error that the batch failed with, and JobStopped if it was paused or cancelled."""
        return read_answer(self._jobs.wait(job_id, on_progress=on_progress).result or {}, BatchResult)

    def fetch(self, job_id: str, path: str | os.PathLike[str], *, on_bytes: Callable[[int], None] | None = None) -> int:
        """The size in bytes of the written answers, in the form that the ending of the path says; the file appears when it is
        complete. Of a batch that stopped on its way these are the answers that there are.

        Raises NotFound where nothing was answered, Conflict while the batch runs.
        """
        target = Path(path).expanduser()
        return self._transport.download(
            f"/api/batches/{segment(job_id)}/output", target, params={"format": form_of(target)}, on_bytes=on_bytes
        )


def form_of(path: str | os.PathLike[str]) -> str:
    """Raises InvalidValue for an ending that says no form."""
    ending = Path(path).suffix.lower()
    if ending not in FORMS:
        raise InvalidValue(f"'{path}' does not say how answers are written; end its name with {', '.join(FORMS)}")
    return FORMS[ending]

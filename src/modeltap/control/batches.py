"""Batches: a file of rows becomes a job that has a deployment answer them, charged to the key that asked for it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, NamedTuple

import msgspec

from modeltap.bundle.files import open_bundle
from modeltap.control.datasets import UPLOADS
from modeltap.data.answer_chunks import AnswerFolder
from modeltap.data.answer_files import FORMS, Form, write_answers
from modeltap.data.row_files import kind_of
from modeltap.data.rows import RowReader
from modeltap.domain.job import Job
from modeltap.domain.names import parse_name
from modeltap.domain.tenant import Principal
from modeltap.errors import Conflict, Forbidden, InvalidData, InvalidInput, NotFound
from modeltap.faults import crash_point
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.disk import disk_failures
from modeltap.storage.jobs import JobRepository

MAX_CHUNK_ROWS = 1000


class BatchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch job does. `key` is the id of the key whose limits hold, and that is charged."""

    deployment: str
    key: str
    filename: str
    upload: str
    form: Form = "csv"
    chunk_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHUNK_ROWS)] = MAX_CHUNK_ROWS
    """Sent as one request at the most."""


class Output(NamedTuple):
    """The answers as a file that is open for reading, and gone when it is closed if it was made for this."""

    file: IO[bytes]
    filename: str
    job: Job


class Batches:
    def __init__(
        self,
        home: Path,
        deployments: DeploymentRepository,
        artifacts: ArtifactStore,
        jobs: JobRepository,
        wake: Callable[[], None],
    ) -> None:
        self._home = home
        self._deployments = deployments
        self._artifacts = artifacts
        self._jobs = jobs
        self._wake = wake

    def check(self, principal: Principal, deployment: str, filename: str, form: str) -> Form:
        """What can be known before the rows are sent. Raises NotFound, Forbidden, InvalidData, InvalidInput."""
        parse_name("deployment", deployment)
        found = self._deployments.get(deployment)
        if principal.models is not None and deployment not in principal.models:
            raise Forbidden(f"the key is not for '{deployment}'; it is for: {', '.join(sorted(principal.models))}")
        kind_of(filename)
        manifest = open_bundle(self._artifacts.paths(found.routes[0].digest)).manifest
        if not RowReader(manifest.schema).features:
            raise InvalidData(f"the model behind '{deployment}' takes whole tensors, no rows; send them to /v2/models")
        return parse_form(form)

    def new_upload(self) -> Path:
        """A path nobody has, for the rows."""
        uploads = self._home / UPLOADS
        uploads.mkdir(mode=0o700, exist_ok=True)
        return uploads / secrets.token_hex(16)

    def start(
        self,
        principal: Principal,
        deployment: str,
        *,
        filename: str,
        upload: Path,
        form: Form,
        chunk_rows: int = MAX_CHUNK_ROWS,
    ) -> Job:
        """The queued job. Raises InvalidInput for an empty file."""
        if upload.stat().st_size == 0:
            upload.unlink(missing_ok=True)
            raise InvalidInput("the file is empty; send the bytes of a file of rows as the body")
        crash_point("upload.spooled")
        spec = BatchSpec(
            deployment=deployment,
            key=principal.key,
            filename=Path(filename).name,
            upload=upload.name,
            form=form,
            chunk_rows=chunk_rows,
        )
        job = self._jobs.add("batch", msgspec.to_builtins(spec), datetime.now(UTC))
        self._wake()
        return job

    def output(self, principal: Principal, job_id: str, form: str | None) -> Output:
        """The answers of a batch that does not run: all of them, or those that there were when it stopped. In the form that
        was asked for with the rows, unless another is named.

        Raises NotFound, also for a job that is no batch or one of another key; Conflict while it runs.
        """
        job = self._jobs.get(job_id)
        if job.kind != "batch" or job.via is not None or not may_see(principal, job):
            raise NotFound(f"there is no batch '{job_id}'; 'modeltap jobs list' shows all jobs")
        if job.state in ("queued", "running"):
            raise Conflict(f"the batch {job_id} is {job.state}; its answers can be fetched when it has ended, or is paused")
        wanted = parse_form(form or job.spec["form"])
        folder = self._home / "jobs" / job.id
        filename = f"{job.id}.{wanted}"
        path = output_path(folder, wanted)
        with disk_failures("writing the answers"):
            if job.state == "succeeded" and path.is_file():
                return Output(path.open("rb"), filename, job)
            answers = AnswerFolder(folder)
            if next(iter(answers), None) is None:
                ended = "its answers are gone, they are kept for 7 days" if job.state == "succeeded" else "no row was answered"
                raise NotFound(f"the batch {job_id} is {job.state} and {ended}")
            if job.state == "succeeded":
                write_answers(answers, path, wanted)
                return Output(path.open("rb"), filename, job)
            passing = path.with_name(f".{secrets.token_hex(8)}.{wanted}")
            try:
                write_answers(answers, passing, wanted)
                return Output(passing.open("rb"), filename, job)
            finally:
                passing.unlink(missing_ok=True)  # it goes with its handle


def output_path(folder: Path, form: Form) -> Path:
    """Where all answers lie in that form, in the job's folder."""
    return folder / f"output.{form}"


def may_see(principal: Principal, job: Job) -> bool:
    """Whoever may train sees every job of the tenant; any other key the batches that it asked for."""
    return principal.may("train") or (job.kind == "batch" and job.spec["key"] == principal.key)


def parse_form(given: str) -> Form:
    """Raises InvalidInput for a form that answers are not written in."""
    for form in FORMS:
        if form == given:
            return form
    raise InvalidInput(
        f"answers are not written as '{given[:40]}'; allowed: {', '.join(FORMS)}", fields=[("format", "unknown")]
    )

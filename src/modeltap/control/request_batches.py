"""Batches of OpenAI's protocol: a file of requests becomes a job that sends each once, charged to the key that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import msgspec

from modeltap.control.files import Files
from modeltap.control.request_answers import ERRORS, OUTPUT, RequestAnswers, keep_answers, made_by
from modeltap.domain.job import Job
from modeltap.domain.stored_file import StoredFile
from modeltap.domain.tenant import Principal
from modeltap.errors import Conflict, NotFound, TooLarge
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.files import FileRepository
from modeltap.storage.jobs import JobRepository

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/responses"]
ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)
WINDOW = timedelta(hours=24)
MAX_INPUT_BYTES = 200 << 20
ID_PREFIX = "batch_"
_JOB_PREFIX = "job-"

BatchStatus = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


class RequestBatchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch job of OpenAI's protocol does. `digest` names the bytes of the file of requests, which may be removed
    meanwhile; `key` is the id of the key whose limits hold, and that is charged."""

    key: str
    endpoint: Endpoint
    input_file: str
    filename: str
    digest: str
    metadata: dict[str, str] | None = None
    output_expires_s: int | None = None


class Counts(NamedTuple):
    total: int
    completed: int
    failed: int


class RequestBatch(NamedTuple):
    """A batch as its client sees it, but for the wire."""

    job: Job
    spec: RequestBatchSpec
    output: StoredFile | None
    errors: StoredFile | None

    @property
    def id(self) -> str:
        return ID_PREFIX + self.job.id.removeprefix(_JOB_PREFIX)

    @property
    def status(self) -> BatchStatus:
        return status_of(self.job)

    @property
    def counts(self) -> Counts:
        """As the job has them in the end, or as it told last."""
        result, told = self.job.result, self.job.progress or {}
        if result is not None:
            done = result["completed"] + result["failed"]
            return Counts(max(result.get("total") or told.get("steps") or 0, done), result["completed"], result["failed"])
        num_failed = told.get("refused") or 0
        return Counts(told.get("steps") or 0, max(0, (told.get("step") or 0) - num_failed), num_failed)


def status_of(job: Job) -> BatchStatus:
    """A job's state, and what it told last, in OpenAI's words. Pure."""
    match job.state:
        case "succeeded":
            return "expired" if (job.result or {}).get("is_expired") else "completed"
        case "failed":
            return "failed"
        case "cancelled":
            return "cancelled"
    if job.wanted == "cancel":
        return "cancelling"
    match (job.progress or {}).get("phase", "data"):
        case "data":
            return "validating"
        case "bundle" | "done":
            return "finalizing"
    return "in_progress"


class RequestBatches:
    """Bound to the tenant of its repositories."""

    def __init__(
        self,
        home: Path,
        files: Files,
        stored: FileRepository,
        artifacts: ArtifactStore,
        jobs: JobRepository,
        wake: Callable[[], None],
    ) -> None:
        self._home = home
        self._files = files
        self._stored = stored
        self._artifacts = artifacts
        self._jobs = jobs
        self._wake = wake

    def start(
        self,
        principal: Principal,
        *,
        input_file: str,
        endpoint: Endpoint,
        metadata: Mapping[str, str] | None = None,
        output_expires_s: int | None = None,
    ) -> RequestBatch:
        """The batch, queued; its lines are checked by the job. Raises NotFound and InvalidInput for the file."""
        file = self._files.for_job(principal, input_file, field="input_file_id", purpose="batch")
        if file.size_bytes > MAX_INPUT_BYTES:
            raise TooLarge(given_bytes=file.size_bytes, limit_bytes=MAX_INPUT_BYTES)
        spec = RequestBatchSpec(
            key=principal.key,
            endpoint=endpoint,
            input_file=file.id,
            filename=file.filename,
            digest=file.digest,
            metadata=None if metadata is None else dict(metadata),
            output_expires_s=output_expires_s,
        )
        job = self._jobs.add("batch", msgspec.to_builtins(spec), datetime.now(UTC), via="openai")
        self._wake()
        return RequestBatch(job, spec, None, None)

    def get(self, principal: Principal, batch_id: str) -> RequestBatch:
        """Raises NotFound, also for a batch of another key."""
        return self._shown(self._job(principal, batch_id))

    def page(self, principal: Principal, *, after: str | None, limit: int) -> tuple[list[RequestBatch], bool]:
        """The newest first, and whether there are more. Raises NotFound for `after`."""
        last = None if after is None else self._job(principal, after)
        found: list[Job] = []
        while len(found) <= limit:
            jobs = self._jobs.page("openai", "batch", after=last, limit=limit + 1)
            found += [job for job in jobs if _may_see(principal, job)]
            if len(jobs) <= limit:
                break
            last = jobs[-1]
        return [self._shown(job) for job in found[:limit]], len(found) > limit

    def cancel(self, principal: Principal, batch_id: str) -> RequestBatch:
        """The batch, ended or about to end; requests that are under way are still answered. Raises NotFound, Conflict."""
        job = self._job(principal, batch_id)
        status = status_of(job)
        if status not in ("validating", "in_progress", "finalizing", "cancelling"):
            raise Conflict(f"the batch {batch_id} is {status}; one that has not ended can be cancelled")
        job = self._jobs.ask(job.id, "cancel", datetime.now(UTC))
        self._wake()
        return self._shown(job)

    def _job(self, principal: Principal, batch_id: str) -> Job:
        try:
            job = self._jobs.get(_JOB_PREFIX + batch_id.removeprefix(ID_PREFIX))
        except NotFound:
            raise _no_batch(batch_id) from None
        is_batch = job.kind == "batch" and job.via == "openai" and batch_id.startswith(ID_PREFIX)
        if not is_batch or not _may_see(principal, job):
            raise _no_batch(batch_id)
        return job

    def _shown(self, job: Job) -> RequestBatch:
        """With its files. Those of a batch that was stopped are made when it is looked at first, of what it left."""
        spec = msgspec.convert(job.spec, RequestBatchSpec)
        if job.state in ("failed", "cancelled") and job.result is None:
            folder = self._home / "jobs" / job.id
            result = {"completed": 0, "failed": 0, "usage": None}
            if folder.is_dir():
                answers = RequestAnswers(folder)
                result = keep_answers(job, answers, self._stored, self._artifacts, expires_s=spec.output_expires_s)
            job = self._jobs.note_result(job.id, result)
        names = {what: made_by(job, what) for what in (OUTPUT, ERRORS)}
        made = self._stored.made_by(tuple(names.values()), datetime.now(UTC)) if job.result is not None else {}
        return RequestBatch(job, spec, made.get(names[OUTPUT]), made.get(names[ERRORS]))


def expires_at(job: Job) -> datetime:
    """When what was not sent yet is not sent any more."""
    return job.created_at + WINDOW


def _may_see(principal: Principal, job: Job) -> bool:
    return principal.may("train") or job.spec["key"] == principal.key


def _no_batch(batch_id: str) -> NotFound:
    return NotFound(f"there is no batch '{batch_id[:80]}'; GET /v1/batches lists yours")

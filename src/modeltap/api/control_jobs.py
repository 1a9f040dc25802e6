"""/api/jobs: start, watch (also as server-sent events), pause, resume, cancel; /api/recipes/render."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from modeltap.api.access import caller
from modeltap.api.control_tunings import TuneRequest
from modeltap.api.job_terms import UseForJobs
from modeltap.api.services import Services, Use
from modeltap.control.batches import may_see
from modeltap.control.compressions import MAX_TEXTS
from modeltap.control.reading import MAX_LABELS
from modeltap.domain.job import ENDED, REPORT_FILE, Job, JobState
from modeltap.domain.scheduling import Standing
from modeltap.errors import NotFound

router = APIRouter(tags=["jobs"])
POLL_S = 0.1
KEEP_ALIVE_S = 15.0
STANDING_S = 1.0
"""Between two looks at the whole queue, for one who follows a job that waits in it."""
UNTOLD = ("progress", "lease_expires_at", "reached")
"""Of a job's facts: that these changed is no news of its state."""
MAX_OFFSET = 2**40
"""No job writes as much, and no file system refuses to look there."""
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET)]


def check_visible(job_id: str, request: Request, services: Use) -> None:
    """Raises NotFound for a job that the key may not see, as for one that is not there."""
    if not may_see(caller(request), services.jobs.get(job_id)):
        raise NotFound(f"there is no job '{job_id}'; 'modeltap jobs list' shows all")


VISIBLE = [Depends(check_visible)]


class TrainRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Literal["train"]
    dataset: str
    task: str | None = None
    target: str | None = None
    recipe: dict[str, Any] | str | None = None
    set: dict[str, Any] | None = None
    name: str | None = None


class EvaluateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Literal["evaluate"]
    model: str
    dataset: str
    part: str | None = None
    slices: list[str] = []
    target: str | None = None
    labels: list[str] = Field(default=[], max_length=MAX_LABELS)
    scale: float | None = None


class CompressRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Literal["compress"]
    model: str
    weights: Literal["int8", "int4"] | None = None
    prune: float | None = None
    unstructured: bool = False
    rounds: int | None = None
    distil: dict[str, Any] | str | None = None
    temperature: float | None = None
    alpha: float | None = None
    set: dict[str, Any] | None = None
    name: str | None = None
    max_drop: float | str | None = None
    min_gain: float | None = None
    data: str | None = None
    texts: list[str] = Field(default=[], max_length=MAX_TEXTS)
    target: str | None = None
    labels: list[str] = Field(default=[], max_length=MAX_LABELS)
    scale: float | None = None


class RenderRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    task: str | None = None
    target: str | None = None
    recipe: dict[str, Any] | str | None = None
    set: dict[str, Any] | None = None


@router.post("/jobs", status_code=201)
def start_job(
    request: Annotated[TrainRequest | TuneRequest | EvaluateRequest | CompressRequest, Field(discriminator="kind")],
    services: UseForJobs,
) -> dict[str, Any]:
    """Queue a training, a search, an evaluation or a compression."""
    if isinstance(request, TrainRequest):
        job = services.trainings.start_training(
            request.dataset,
            task=request.task,
            target=request.target,
            recipe=request.recipe,
            settings=request.set,
            name=request.name,
        )
    elif isinstance(request, TuneRequest):
        job = services.tunings.start(
            request.dataset,
            task=request.task,
            target=request.target,
            recipe=request.recipe,
            settings=request.set,
            trials=request.trials,
            name=request.name,
        )
    elif isinstance(request, CompressRequest):
        job = services.compressions.start(
            request.model,
            weights=request.weights,
            prune=request.prune,
            unstructured=request.unstructured,
            rounds=request.rounds,
            distil=request.distil,
            temperature=request.temperature,
            alpha=request.alpha,
            settings=request.set,
            name=request.name,
            max_drop=request.max_drop,
            min_gain=request.min_gain,
            data=request.data,
            texts=request.texts,
            target=request.target,
            labels=request.labels,
            scale=request.scale,
        )
    else:
        job = services.trainings.start_evaluation(
            request.model,
            request.dataset,
            part=request.part,
            slices=request.slices,
            target=request.target,
            labels=request.labels,
            scale=request.scale,
        )
    return job_facts(job)


@router.post("/recipes/render")
def render_recipe(request: RenderRequest, services: Use) -> dict[str, Any]:
    """The full recipe with every default written out."""
    recipe = services.trainings.read_recipe(request.recipe, task=request.task, target=request.target, settings=request.set)
    return services.trainings.render(recipe)


@router.get("/jobs")
def list_jobs(services: Use, state: JobState | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
    """The newest jobs first."""
    jobs = services.jobs.list(state, limit=limit)
    standings = services.standings() if any(job.state == "queued" for job in jobs) else {}
    return {"jobs": [job_facts(job, standings) for job in jobs]}


@router.get("/jobs/{job_id}", dependencies=VISIBLE)
def show_job(job_id: str, services: Use) -> dict[str, Any]:
    """Its state, where it stands in the queue, its progress, how each of its runners ended, and its result or its error."""
    job = services.jobs.get(job_id)
    standings = services.standings() if job.state == "queued" else {}
    attempts = [msgspec.to_builtins(attempt) for attempt in services.jobs.attempts(job_id)]
    return {**job_facts(job, standings), "attempts": attempts}


@router.post("/jobs/{job_id}/{action}", dependencies=VISIBLE)
def change_job(job_id: str, action: Literal["pause", "resume", "cancel"], services: UseForJobs) -> dict[str, Any]:
    """Ask for it; a running job does it at its next checkpoint. `resume` ends also the wait of a job that is tried again
    later, and takes a new priority and new limits."""
    now = datetime.now(UTC)
    job = services.jobs.resume(job_id, now) if action == "resume" else services.jobs.ask(job_id, action, now)
    services.wake_jobs()
    return job_facts(job)


@router.get("/jobs/{job_id}/log", dependencies=VISIBLE)
def read_log(job_id: str, services: Use, offset: Offset = 0) -> dict[str, Any]:
    """What the job wrote from byte `offset` on, and the offset to go on from."""
    text, following = services.journal(job_id).read_log(offset)
    return {"text": text, "offset": following}


@router.get("/jobs/{job_id}/report", response_class=HTMLResponse)
def read_report(job_id: str, services: Use) -> Response:
    """The HTML report of a training, a search or an evaluation."""
    job = services.jobs.get(job_id)
    if job.kind in ("train", "compress") and job.result is not None:
        return HTMLResponse(services.models.report(job.result["version"]))
    path = services.journal(job_id).folder / REPORT_FILE
    if not path.exists():
        raise NotFound(f"{job_id} has no report (it is {job.state})")
    return HTMLResponse(path.read_bytes())


@router.get("/jobs/{job_id}/events", dependencies=VISIBLE)
async def follow_job(
    job_id: str,
    services: Use,
    offset: Offset = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Server-sent events until the job has ended or is paused: `progress`, `log` and `state`. An event's id is where to go
    on after a broken connection: `Last-Event-ID`, or ?offset=."""
    job = await asyncio.to_thread(services.jobs.get, job_id)
    events_offset, log_offset = _parse_position(last_event_id) or (offset, 0)
    stream = _events(services, job, events_offset, log_offset)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _events(services: Services, job: Job, events_at: int, log_at: int) -> AsyncIterator[bytes]:
    journal = services.journal(job.id)
    shown: dict[str, Any] | None = None
    quiet_s = look_at_s = 0.0
    standings: Mapping[str, Standing] = {}
    now_s = asyncio.get_running_loop().time
    while True:
        # The state is read before the files: what was written before the end is then sent before the end is told.
        job = await asyncio.to_thread(services.jobs.get, job.id)
        told = False
        events, events_at = await asyncio.to_thread(journal.read_events, events_at)
        for event in events:
            yield _event("progress", f"{events_at}-{log_at}", msgspec.json.encode(event))
            told = True
        text, log_at = await asyncio.to_thread(journal.read_log, log_at)
        if text:
            yield _event("log", f"{events_at}-{log_at}", msgspec.json.encode({"text": text}))
            told = True
        if job.state != "queued":
            standings = {}
        elif now_s() >= look_at_s:
            standings, look_at_s = await asyncio.to_thread(services.standings), now_s() + STANDING_S
        facts = job_facts(job, standings)
        visible = {name: value for name, value in facts.items() if name not in UNTOLD}
        if visible != shown:
            shown = visible
            yield _event("state", f"{events_at}-{log_at}", msgspec.json.encode(facts))
            told = True
        if (job.state in ENDED or job.state == "paused") and not events and not text:
            return
        if services.closing.is_set():
            return
        quiet_s = 0.0 if told else quiet_s + POLL_S
        if quiet_s >= KEEP_ALIVE_S:
            quiet_s = 0.0
            yield b": still here\n\n"
        await asyncio.sleep(POLL_S)


def _event(name: str, position: str, data: bytes) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), position.encode(), data)


def _parse_position(last_event_id: str | None) -> tuple[int, int] | None:
    """(offset in the events, offset in the log) of an id that we gave."""
    events, _, log = (last_event_id or "").partition("-")
    if not (events.isascii() and log.isascii() and events.isdigit() and log.isdigit() and len(events) + len(log) <= 32):
        return None
    return min(int(events), MAX_OFFSET), min(int(log), MAX_OFFSET)


def job_facts(job: Job, standings: Mapping[str, Standing] | None = None) -> dict[str, Any]:
    """The job as every client sees it; `queue` tells of one that waits for its turn, where it is known."""
    facts: dict[str, Any] = msgspec.to_builtins(job)
    standing = (standings or {}).get(job.id)
    return facts if standing is None else {**facts, "queue": msgspec.to_builtins(standing)}

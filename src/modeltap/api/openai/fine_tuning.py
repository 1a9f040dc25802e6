"""/v1/fine_tuning/jobs: train a model on from files, follow it, stop it, and see what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.openai.batches import MAX_BODY_BYTES, Metadata, seconds
from modeltap.api.openai.dispatch import Route, need
from modeltap.api.openai.fine_tuning_events import checkpoint_facts, event_facts
from modeltap.api.openai.listing import limit_of, page_answer, query_of
from modeltap.api.openai.problems import refused
from modeltap.api.openai.reading import read_request
from modeltap.api.services import Services, ServicesOf
from modeltap.control.fine_tunings import MAX_SUFFIX_CHARS, SEEDS, Architecture, FineTuneSpec, FineTuning, Hyperparameters
from modeltap.serving.call import Call

MAX_PAGE = 100
MAX_EVENTS = 1000
"""And checkpoints, of a page."""
Auto = Literal["auto"]
Epochs = Annotated[int, msgspec.Meta(ge=1, le=1000)]
BatchSize = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Multiplier = Annotated[float, msgspec.Meta(gt=0, le=1000)]


class HyperparametersBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    n_epochs: Epochs | Auto | None = None
    batch_size: BatchSize | Auto | None = None
    learning_rate_multiplier: Multiplier | Auto | None = None

    def chosen(self) -> Hyperparameters:
        def number(value: Any) -> Any:
            return None if value == "auto" else value

        return Hyperparameters(
            n_epochs=number(self.n_epochs),
            batch_size=number(self.batch_size),
            learning_rate_multiplier=number(self.learning_rate_multiplier),
        )


class SupervisedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hyperparameters: HyperparametersBody | None = None


class MethodBody(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    supervised: SupervisedBody | None = None


class FineTuneRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str
    training_file: str
    validation_file: str | None = None
    method: MethodBody | None = None
    hyperparameters: HyperparametersBody | None = None
    """Where OpenAI had them before there were methods; those of the method count."""
    suffix: Annotated[str, msgspec.Meta(max_length=MAX_SUFFIX_CHARS)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, lt=SEEDS)] | None = None
    metadata: Metadata | None = None
    integrations: list[Any] | None = None
    architecture: Architecture = "lora"
    """Not OpenAI's own: `full` trains all weights."""


_REQUEST = msgspec.json.Decoder(FineTuneRequest)


class FineTuningRoutes:
    """All of it takes a key that may train."""

    def __init__(self, services_of: ServicesOf) -> None:
        self._services_of = services_of

    def routes(self) -> list[Route]:
        jobs = "/v1/fine_tuning/jobs"
        return [
            Route("POST", jobs, self.create, is_metered=False),
            Route("GET", jobs, self.list, is_metered=False),
            Route("GET", f"{jobs}/{{job_id}}", self.get, is_metered=False),
            Route("POST", f"{jobs}/{{job_id}}/cancel", self._changing("cancel"), is_metered=False),
            Route("POST", f"{jobs}/{{job_id}}/pause", self._changing("pause"), is_metered=False),
            Route("POST", f"{jobs}/{{job_id}}/resume", self._changing("resume"), is_metered=False),
            Route("GET", f"{jobs}/{{job_id}}/events", self.events, is_metered=False),
            Route("GET", f"{jobs}/{{job_id}}/checkpoints", self.checkpoints, is_metered=False),
        ]

    async def create(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        fine_tunings = self._services(call).fine_tunings
        asked = await read_request(scope, receive, _REQUEST, limit_bytes=MAX_BODY_BYTES)
        method = asked.method
        if method is not None and method.type != "supervised":
            raise refused("method.type", f"the method '{method.type[:40]}' is not done here; allowed: supervised")
        if asked.integrations:
            raise refused("integrations", "nothing is sent to other services from here; leave integrations out")
        inner = None if method is None or method.supervised is None else method.supervised.hyperparameters
        given = inner or asked.hyperparameters or HyperparametersBody()
        made = await asyncio.to_thread(
            lambda: fine_tunings.start(
                call.principal,
                model=asked.model,
                training_file=asked.training_file,
                validation_file=asked.validation_file,
                architecture=asked.architecture,
                hyperparameters=given.chosen(),
                seed=asked.seed,
                suffix=asked.suffix,
                metadata=asked.metadata,
            )
        )
        return json_answer(fine_tuning_facts(made, call.principal.tenant))

    async def list(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        fine_tunings = self._services(call).fine_tunings
        query = query_of(scope)
        limit = limit_of(query, default=20, most=MAX_PAGE)
        wanted = {
            name.removeprefix("metadata[").removesuffix("]"): value
            for name, value in query.items()
            if name.startswith("metadata[") and name.endswith("]")
        }
        found, has_more = await asyncio.to_thread(
            lambda: fine_tunings.page(after=query.get("after"), limit=limit, metadata=wanted)
        )
        return page_answer([fine_tuning_facts(one, call.principal.tenant) for one in found], has_more=has_more)

    async def get(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        found = await asyncio.to_thread(self._services(call).fine_tunings.get, scope["path_params"]["job_id"])
        return json_answer(fine_tuning_facts(found, call.principal.tenant))

    def _changing(self, action: Literal["cancel", "pause", "resume"]) -> Callable[[Scope, Receive, Call], Any]:
        async def change(scope: Scope, _receive: Receive, call: Call) -> Answer:
            fine_tunings = self._services(call).fine_tunings
            changed = await asyncio.to_thread(fine_tunings.change, scope["path_params"]["job_id"], action)
            return json_answer(fine_tuning_facts(changed, call.principal.tenant))

        return change

    async def events(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        """The newest first."""
        services = self._services(call)
        query = query_of(scope)
        limit = limit_of(query, default=20, most=MAX_EVENTS)

        def read() -> list[dict[str, Any]]:
            found = services.fine_tunings.get(scope["path_params"]["job_id"])
            return event_facts(found, services.journal(found.job.id))[::-1]

        return _page_of(await asyncio.to_thread(read), query.get("after"), limit)

    async def checkpoints(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        """The model that came of the job: what lies between is kept for nobody but the job."""
        services = self._services(call)
        query = query_of(scope)
        limit = limit_of(query, default=10, most=MAX_EVENTS)

        def read() -> list[dict[str, Any]]:
            found = services.fine_tunings.get(scope["path_params"]["job_id"])
            version = services.fine_tunings.version(found) if found.status == "succeeded" else None
            if version is None:
                return []
            history = services.fine_tunings.history(version)
            return [checkpoint_facts(found, version, history, services.journal(found.job.id))]

        return _page_of(await asyncio.to_thread(read), query.get("after"), limit)

    def _services(self, call: Call) -> Services:
        need(call, "train")
        return self._services_of(call.principal.tenant)


def fine_tuning_facts(one: FineTuning, tenant: str) -> dict[str, Any]:
    """The job as every client of OpenAI's reads it."""
    job, spec, status = one.job, one.spec, one.status
    result, told = job.result or {}, job.progress or {}
    has_ended = status in ("succeeded", "failed", "cancelled")
    left_s = told.get("remaining_s") if status == "running" and told.get("phase") == "train" else None
    numbers = _hyperparameters(spec)
    return {
        "id": one.id,
        "object": "fine_tuning.job",
        "model": spec.model,
        "created_at": seconds(job.created_at),
        "finished_at": seconds(job.ended_at) if has_ended else None,
        "fine_tuned_model": spec.name if status == "succeeded" else None,
        "organization_id": tenant,
        "result_files": [] if one.results is None else [one.results.id],
        "status": status,
        "validation_file": None if spec.validation_file is None else spec.validation_file.id,
        "training_file": spec.training_file.id,
        "hyperparameters": numbers,
        "trained_tokens": result.get("trained_tokens"),
        "error": _error(job.error) if status == "failed" else None,
        "user_provided_suffix": spec.suffix,
        "seed": spec.seed,
        "estimated_finish": None if left_s is None or told.get("at_s") is None else int(told["at_s"] + left_s),
        "integrations": [],
        "metadata": spec.metadata,
        "method": {"type": "supervised", "supervised": {"hyperparameters": numbers}},
    }


def _hyperparameters(spec: FineTuneSpec) -> dict[str, Any]:
    given = spec.hyperparameters
    return {
        "n_epochs": given.n_epochs or "auto",
        "batch_size": given.batch_size or "auto",
        "learning_rate_multiplier": given.learning_rate_multiplier or "auto",
    }


def _error(error: dict[str, Any] | None) -> dict[str, Any]:
    facts = error or {"code": "internal", "detail": "the job failed"}
    param = "training_file" if facts["code"] == "invalid_data" else None
    return {"code": facts["code"], "message": facts["detail"], "param": param}


def _page_of(found: list[dict[str, Any]], after: str | None, limit: int) -> Answer:
    """What follows `after` in them. Raises InvalidInput for an id that is none of theirs."""
    if after is not None:
        place = next((place for place, one in enumerate(found) if one["id"] == after), None)
        if place is None:
            raise refused("after", f"after is '{after[:80]}', which is none of the list; give the last id of a page")
        found = found[place + 1 :]
    return page_answer(found[:limit], has_more=len(found) > limit)

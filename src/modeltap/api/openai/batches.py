"""/v1/batches: a file of requests in, a file of answers out, and in between a job that anybody may ask about."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.openai.dispatch import Route, need
from modeltap.api.openai.listing import limit_of, page_answer, query_of
from modeltap.api.openai.reading import read_request
from modeltap.api.services import Services, ServicesOf
from modeltap.control.files import Expiry
from modeltap.control.request_batches import Endpoint, RequestBatch, expires_at
from modeltap.serving.call import Call

MAX_PAGE = 100
MAX_BODY_BYTES = 1 << 20
MetadataKey = Annotated[str, msgspec.Meta(max_length=64)]
MetadataValue = Annotated[str, msgspec.Meta(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], msgspec.Meta(max_length=16)]
_LINE = re.compile(r"line (\d+)")


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: Expiry | None = None


_REQUEST = msgspec.json.Decoder(BatchRequest)


class BatchRoutes:
    """Every key that may predict has batches; those of others are seen by keys that may train."""

    def __init__(self, services_of: ServicesOf) -> None:
        self._services_of = services_of

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/batches", self.create, is_metered=False),
            Route("GET", "/v1/batches", self.list, is_metered=False),
            Route("GET", "/v1/batches/{batch_id}", self.get, is_metered=False),
            Route("POST", "/v1/batches/{batch_id}/cancel", self.cancel, is_metered=False),
        ]

    async def create(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        batches = self._services(call).request_batches
        asked = await read_request(scope, receive, _REQUEST, limit_bytes=MAX_BODY_BYTES)
        expiry = asked.output_expires_after
        made = await asyncio.to_thread(
            lambda: batches.start(
                call.principal,
                input_file=asked.input_file_id,
                endpoint=asked.endpoint,
                metadata=asked.metadata,
                output_expires_s=None if expiry is None else expiry.seconds,
            )
        )
        return json_answer(batch_facts(made))

    async def list(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        batches = self._services(call).request_batches
        query = query_of(scope)
        limit = limit_of(query, default=20, most=MAX_PAGE)
        found, has_more = await asyncio.to_thread(lambda: batches.page(call.principal, after=query.get("after"), limit=limit))
        return page_answer([batch_facts(batch) for batch in found], has_more=has_more)

    async def get(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        batches = self._services(call).request_batches
        return json_answer(batch_facts(await asyncio.to_thread(batches.get, call.principal, scope["path_params"]["batch_id"])))

    async def cancel(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        batches = self._services(call).request_batches
        found = await asyncio.to_thread(batches.cancel, call.principal, scope["path_params"]["batch_id"])
        return json_answer(batch_facts(found))

    def _services(self, call: Call) -> Services:
        need(call, "predict")
        return self._services_of(call.principal.tenant)


def batch_facts(batch: RequestBatch) -> dict[str, Any]:
    """The batch as every client of OpenAI's reads it."""
    job, status, result = batch.job, batch.status, batch.job.result or {}
    ended_at = seconds(job.ended_at)
    finalizing_at_s = result.get("finalizing_at_s")
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.spec.endpoint,
        "model": None,
        "errors": _errors(job.error) if status == "failed" else None,
        "input_file_id": batch.spec.input_file,
        "completion_window": "24h",
        "status": status,
        "output_file_id": None if batch.output is None else batch.output.id,
        "error_file_id": None if batch.errors is None else batch.errors.id,
        "created_at": seconds(job.created_at),
        "in_progress_at": None if status == "validating" else seconds(job.started_at),
        "expires_at": seconds(expires_at(job)),
        "finalizing_at": None if finalizing_at_s is None else int(finalizing_at_s),
        "completed_at": ended_at if status == "completed" else None,
        "failed_at": ended_at if status == "failed" else None,
        "expired_at": ended_at if status == "expired" else None,
        "cancelling_at": ended_at if status == "cancelled" else None,
        "cancelled_at": ended_at if status == "cancelled" else None,
        "request_counts": batch.counts._asdict(),
        "usage": _usage(result.get("usage")),
        "metadata": batch.spec.metadata,
    }


def seconds(moment: datetime | None) -> int | None:
    """Whole seconds since 1970."""
    return None if moment is None else int(moment.timestamp())


def _errors(error: dict[str, Any] | None) -> dict[str, Any]:
    """What ended the batch; of a file that is none of requests every line that was found."""
    facts = error or {"code": "internal", "detail": "the batch failed"}
    lines = [one for one in facts.get("errors", ()) if _LINE.fullmatch(one["field"])]
    data = [
        {"code": "invalid_request", "line": int(one["field"].split()[1]), "message": one["detail"], "param": None}
        for one in lines
    ]
    return {
        "object": "list",
        "data": data or [{"code": facts["code"], "line": None, "message": facts["detail"], "param": None}],
    }


def _usage(usage: dict[str, int] | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage["input_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["input_tokens"] + usage["output_tokens"],
    }

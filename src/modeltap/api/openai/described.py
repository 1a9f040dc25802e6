"""/openapi.json about /v1: its paths, with the bodies as they are read and the answers as they are given."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from modeltap.api.openai.batches import MAX_PAGE as MAX_BATCHES
from modeltap.api.openai.batches import BatchRequest
from modeltap.api.openai.described_answers import ANSWERS, PREFIX, TEXT, Json, one_of, ref
from modeltap.api.openai.embeddings import EmbeddingRequest
from modeltap.api.openai.fields import ChatRequest, CompletionRequest
from modeltap.api.openai.files import ORDERS
from modeltap.api.openai.fine_tuning import MAX_EVENTS, FineTuneRequest
from modeltap.api.openai.fine_tuning import MAX_PAGE as MAX_JOBS
from modeltap.api.openai.moderations import ModerationRequest
from modeltap.api.openai.responses_fields import ResponsesRequest
from modeltap.api.problems import STATUS
from modeltap.control.files import MAX_PAGE as MAX_FILES
from modeltap.domain.stored_file import PURPOSES, SENT_PURPOSES
from modeltap.errors import DeadlinePassed, InvalidValue, LimitReached

TAG = "openai"
JSON = "application/json"
BODIES: tuple[type[msgspec.Struct], ...] = (
    BatchRequest, ChatRequest, CompletionRequest, EmbeddingRequest, FineTuneRequest, ModerationRequest, ResponsesRequest,
)  # fmt: skip
_FORM: Json = {
    "type": "object",
    "title": f"{PREFIX}Upload",
    "properties": {
        "purpose": one_of(*SENT_PURPOSES),
        "file": {**TEXT, "format": "binary"},
        "expires_after[anchor]": one_of("created_at"),
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
    "required": ["purpose", "file"],
}
_EVENTS: Json = {
    "type": "object",
    "title": f"{PREFIX}Event",
    "properties": {"event": TEXT, "data": {**TEXT, "description": "JSON, or [DONE] at the end"}},
    "required": ["data"],
}


class Operation(NamedTuple):
    """One line of the page."""

    method: str
    path: str
    meaning: str
    answer: str
    """A name of ANSWERS; '' is a file's bytes."""
    body: type[msgspec.Struct] | None = None
    query: dict[str, Json] = {}  # noqa: RUF012  never changed
    is_metered: bool = False
    has_stream: bool = False


def _limit(most: int) -> Json:
    return {"type": "integer", "minimum": 1, "maximum": most}


def _model(path: str, meaning: str, answer: str, body: type[msgspec.Struct], *, has_stream: bool = False) -> Operation:
    return Operation("POST", path, meaning, answer, body, is_metered=True, has_stream=has_stream)


_JOBS = "/v1/fine_tuning/jobs"
_WITHIN = {"limit": _limit(MAX_EVENTS), "after": TEXT}
OPERATIONS = (
    Operation("GET", "/v1/models", "The deployments that the key may use.", "Models"),
    Operation("GET", "/v1/models/{model}", "One of them.", "Model"),
    _model("/v1/completions", "Texts that go on after a prompt.", "Completion", CompletionRequest, has_stream=True),
    _model("/v1/chat/completions", "The answer to messages.", "ChatCompletion", ChatRequest, has_stream=True),
    _model("/v1/responses", "The same in the words of the newer protocol.", "Response", ResponsesRequest, has_stream=True),
    _model("/v1/embeddings", "Numbers for texts.", "Embeddings", EmbeddingRequest),
    _model("/v1/moderations", "What a text classifier says of texts.", "Moderation", ModerationRequest),
    Operation("GET", "/v1/engines", "The deployments, where the first clients look for them.", "Engines"),
    Operation("GET", "/v1/engines/{engine}", "One of them.", "Engine"),
    _model(
        "/v1/engines/{engine}/completions",
        "As /v1/completions; the path names the model.",
        "Completion",
        CompletionRequest,
        has_stream=True,
    ),
    Operation("POST", "/v1/files", "Keep a file that is sent as a form.", "File"),
    Operation(
        "GET",
        "/v1/files",
        "A page of files.",
        "Files",
        query={"purpose": one_of(*PURPOSES), "limit": _limit(MAX_FILES), "after": TEXT, "order": one_of(*ORDERS)},
    ),
    Operation("GET", "/v1/files/{file_id}", "What is known of one.", "File"),
    Operation("DELETE", "/v1/files/{file_id}", "Forget it.", "RemovedFile"),
    Operation("GET", "/v1/files/{file_id}/content", "Its bytes.", ""),
    Operation("POST", _JOBS, "Train the version behind a model's name on a file.", "FineTuningJob", FineTuneRequest),
    Operation("GET", _JOBS, "The newest first.", "FineTuningJobs", query={"limit": _limit(MAX_JOBS), "after": TEXT}),
    Operation("GET", f"{_JOBS}/{{job_id}}", "One, with the name of its model when it has succeeded.", "FineTuningJob"),
    Operation("POST", f"{_JOBS}/{{job_id}}/cancel", "End it without a model.", "FineTuningJob"),
    Operation("POST", f"{_JOBS}/{{job_id}}/pause", "Let it rest where it is.", "FineTuningJob"),
    Operation("POST", f"{_JOBS}/{{job_id}}/resume", "Let it go on.", "FineTuningJob"),
    Operation("GET", f"{_JOBS}/{{job_id}}/events", "What it told, the newest first.", "FineTuningEvents", query=_WITHIN),
    Operation("GET", f"{_JOBS}/{{job_id}}/checkpoints", "The model of it.", "FineTuningCheckpoints", query=_WITHIN),
    Operation("POST", "/v1/batches", "Send every line of a file to an endpoint.", "Batch", BatchRequest),
    Operation("GET", "/v1/batches", "The newest first.", "Batches", query={"limit": _limit(MAX_BATCHES), "after": TEXT}),
    Operation("GET", "/v1/batches/{batch_id}", "One.", "Batch"),
    Operation("POST", "/v1/batches/{batch_id}/cancel", "Send no more of it.", "Batch"),
)


def openai_schemas() -> dict[str, Json]:
    """Those that the paths refer to: of requests what the server reads them with."""
    _, found = msgspec.json.schema_components(BODIES, ref_template=f"#/components/schemas/{PREFIX}{{name}}")
    named = {PREFIX + name: _plain({**schema, "title": PREFIX + name}) for name, schema in found.items()}
    answers = {PREFIX + name: {**schema, "title": PREFIX + name} for name, schema in ANSWERS.items()}
    engine = {**named[f"{PREFIX}CompletionRequest"], "title": f"{PREFIX}EngineRequest", "required": []}
    return named | answers | {f"{PREFIX}EngineRequest": engine}


def openai_paths(refusals: list[int], metered: list[Json]) -> dict[str, dict[str, Json]]:
    """Each answers with any of the refusals in OpenAI's way; `metered` are the headers that calls of models take."""
    problem = {JSON: {"schema": ref("Problem")}}
    refused = {*refusals, STATUS[LimitReached], STATUS[DeadlinePassed]} - {STATUS[InvalidValue]}
    paths: dict[str, dict[str, Json]] = {}
    for one in OPERATIONS:
        answers = {str(status): _answer(status, problem) for status in sorted(refused)}
        parts = [piece.strip("{}") for piece in one.path.split("/") if piece.startswith("{")]
        operation: Json = {
            "tags": [TAG],
            "description": one.meaning,
            "parameters": [
                *({"name": part, "in": "path", "required": True, "schema": TEXT} for part in parts),
                *({"name": name, "in": "query", "schema": schema} for name, schema in one.query.items()),
                *(metered if one.is_metered else ()),
            ],
            "responses": {"200": _answer(200, _given(one)), **answers},
        }
        body = _body(one)
        if body is not None:
            operation["requestBody"] = {"required": True, "content": body}
        paths.setdefault(one.path, {})[one.method.lower()] = operation
    return paths


def _body(one: Operation) -> Json | None:
    if one.path == "/v1/files" and one.method == "POST":
        return {"multipart/form-data": {"schema": _FORM}}
    if one.body is None:
        return None
    return {JSON: {"schema": ref("EngineRequest" if "{engine}" in one.path else one.body.__name__)}}


def _given(one: Operation) -> Json:
    if not one.answer:
        return {"application/octet-stream": {"schema": {**TEXT, "format": "binary"}}}
    stream = {"text/event-stream": {"schema": _EVENTS}} if one.has_stream else {}
    return {JSON: {"schema": ref(one.answer)}, **stream}


def _answer(status: int, content: Json) -> Json:
    return {"description": HTTPStatus(status).phrase, "content": content}


def _plain(schema: Any) -> Any:
    """Without the defaults that say nothing: what is left out is as if null had been sent."""
    if isinstance(schema, dict):
        return {name: _plain(rule) for name, rule in schema.items() if name != "default" or rule is not None}
    return [_plain(rule) for rule in schema] if isinstance(schema, list) else schema

"""/openapi.json beyond what the routes say of themselves: the key, every way to be refused, bodies that are files, and the
paths of the data plane."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from modeltap.api.described_plane import METERED, SCHEMAS, plane_paths
from modeltap.api.openai.described import openai_paths, openai_schemas
from modeltap.api.problems import PROBLEM, STATUS
from modeltap.errors import LimitReached, MethodNotAllowed, ModeltapError

KEYS: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
REFUSALS = sorted(
    set(STATUS.values())
    - {STATUS[MethodNotAllowed], STATUS[LimitReached], STATUS[ModeltapError]}  # of no route: of other paths, and of predictions
)
"""Any route may answer with any of these; what each means is said in docs/api.md, once."""
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_TEXT = {"type": "string"}
_EVENTS = {
    "schema": {
        "type": "object",
        "title": "Event",
        "properties": {"event": {"enum": ["progress", "log", "state"]}, "id": _TEXT, "data": {**_TEXT, "description": "JSON"}},
        "required": ["event", "id", "data"],
    }
}
FILES = {
    "/api/jobs/{job_id}/events": {"text/event-stream": _EVENTS},
    "/api/jobs/{job_id}/report": {"text/html; charset=utf-8": _BYTES},
    "/api/batches/{batch_id}/output": dict.fromkeys(
        ("text/csv; charset=utf-8", "application/x-ndjson", "application/vnd.apache.parquet"), _BYTES
    ),
    "/api/models/{ref}/report": {"text/html; charset=utf-8": _BYTES},
    "/api/models/{ref}/recipe": {"application/yaml": {"schema": {"type": "object"}}},
    "/api/models/{ref}/export": {"application/zip": _BYTES},
    "/api/usage.csv": {"text/csv; charset=utf-8": _BYTES},
    "/api/backup": {"application/x-tar": _BYTES},
}
"""What GET of these paths gives instead of JSON."""
UPLOADS = ("/api/datasets", "/api/models/import", "/api/batches")
"""POST to these takes a file as it is."""
LATER = ("/api/datasets",)
"""POST to these may answer with a job that is not done yet."""
_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457; `code` is the rule, `detail` what was given, what is allowed and what to do.",
    "properties": {
        **dict.fromkeys(("type", "title", "detail", "instance", "code"), _TEXT),
        "status": {"type": "integer"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"field": _TEXT, "detail": _TEXT}, "required": ["field", "detail"]},
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "code"],
}


def describe(app: FastAPI) -> None:
    """From now on the application's description is complete."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _completed(description: dict[str, Any]) -> dict[str, Any]:
    components = description["components"]
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which is not what is answered here
        components["schemas"].pop(name, None)
    components["schemas"].update(SCHEMAS, **openai_schemas(), Problem=_PROBLEM)
    components["securitySchemes"] = KEYS
    components["responses"] = {str(status): _refusal(status) for status in REFUSALS}
    description["security"] = [{name: []} for name in KEYS]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            answers = operation["responses"]
            answers.update({str(status): {"$ref": f"#/components/responses/{status}"} for status in REFUSALS})
            if method == "get" and path in FILES:
                answers["200"]["content"] = FILES[path]
            if method == "post" and path in UPLOADS:
                operation["requestBody"] = {"required": True, "content": {"application/octet-stream": _BYTES}}
            if method == "post" and path in LATER:
                answers["202"] = {"description": "The job that goes on", "content": answers["201"]["content"]}
    description["paths"].update(plane_paths(REFUSALS))
    description["paths"].update(openai_paths(REFUSALS, METERED))
    return description


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """What a parameter takes: it can be left out, but no text in a query is null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    only: dict[str, Any] = choices[0]
    return {**{name: rule for name, rule in schema.items() if name != "anyOf"}, **only}


def _refusal(status: int) -> dict[str, Any]:
    content = {PROBLEM.decode(): {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": HTTPStatus(status).phrase, "content": content}

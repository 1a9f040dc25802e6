"""/openapi.json beyond what the routes say of themselves: the key, every way to be refused, and bodies that are files."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

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
FILES = {
    "/api/jobs/{job_id}/events": ("text/event-stream",),
    "/api/jobs/{job_id}/report": ("text/html; charset=utf-8",),
    "/api/batches/{batch_id}/output": ("text/csv; charset=utf-8", "application/x-ndjson", "application/vnd.apache.parquet"),
    "/api/models/{ref}/report": ("text/html; charset=utf-8",),
    "/api/models/{ref}/recipe": ("application/yaml",),
    "/api/models/{ref}/export": ("application/zip",),
    "/api/usage.csv": ("text/csv; charset=utf-8",),
    "/api/backup": ("application/x-tar",),
}
"""What GET of these paths gives instead of JSON."""
UPLOADS = ("/api/datasets", "/api/models/import", "/api/batches")
"""POST to these takes a file as it is."""
LATER = ("/api/datasets",)
"""POST to these may answer with a job that is not done yet."""
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_TEXT = {"type": "string"}
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
    components["schemas"]["Problem"] = _PROBLEM
    components["securitySchemes"] = KEYS
    components["responses"] = {str(status): _refusal(status) for status in REFUSALS}
    description["security"] = [{name: []} for name in KEYS]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            answers.update({str(status): {"$ref": f"#/components/responses/{status}"} for status in REFUSALS})
            if method == "get" and path in FILES:
                answers["200"]["content"] = dict.fromkeys(FILES[path], _BYTES)
            if method == "post" and path in UPLOADS:
                operation["requestBody"] = {"required": True, "content": {"application/octet-stream": _BYTES}}
            if method == "post" and path in LATER:
                answers["202"] = {"description": "The job that goes on", "content": answers["201"]["content"]}
    return description


def _refusal(status: int) -> dict[str, Any]:
    content = {PROBLEM.decode(): {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": HTTPStatus(status).phrase, "content": content}

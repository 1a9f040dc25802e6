"""The control API as one FastAPI application; each noun's routes stand in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from modeltap import __version__
from modeltap.api import (
    control_batches,
    control_data,
    control_deployments,
    control_imports,
    control_jobs,
    control_keys,
    control_models,
    control_server,
    control_tenants,
    control_tunings,
    control_usage,
)
from modeltap.api.access import PREFIX, check_access, methods_of
from modeltap.api.asgi import Answer
from modeltap.api.body import media_type
from modeltap.api.described import describe
from modeltap.api.docs import render_docs
from modeltap.api.problems import problem_answer, unexpected_answer
from modeltap.api.services import ServicesOf
from modeltap.errors import InvalidInput, MethodNotAllowed, ModeltapError, NotFound, UnsupportedMedia

UNREADABLE = "There was an error parsing the body"
"""FastAPI's words for a body that its JSON reader failed on in any way but the usual one."""


ROUTES = (
    control_data,
    control_jobs,
    control_tunings,
    control_batches,
    control_models,
    control_imports,
    control_deployments,
    control_keys,
    control_tenants,
    control_usage,
    control_server,
)


def control_app(services_of: ServicesOf) -> FastAPI:
    """The application under `/api`, with `/docs` and `/openapi.json`, which any key may read."""
    app = FastAPI(title="modeltap", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.services_of = services_of
    for module in ROUTES:
        app.include_router(module.router, prefix=PREFIX, dependencies=[Depends(check_access)])
    describe(app)

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    def docs() -> str:
        return render_docs(app.openapi())

    @app.exception_handler(ModeltapError)
    def named(request: Request, problem: ModeltapError) -> Response:
        return _response(problem_answer(problem, request.url.path))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, problem: RequestValidationError) -> Response:
        kind = media_type(request.scope)
        if problem.errors()[0]["loc"] == ("body",) and kind != "application/json" and problem.body is not None:
            wrong = UnsupportedMedia(
                f"a body of type '{kind[:80]}' is not read here; send JSON as content-type: application/json"
            )
            return _response(problem_answer(wrong, request.url.path))
        fields = [_field(error) for error in problem.errors()]
        told = "; ".join(f"{where}: {what}" for where, what in fields[:5])
        return _response(problem_answer(InvalidInput(f"the request does not fit: {told}", fields=fields), request.url.path))

    @app.exception_handler(HTTPException)
    def plain(request: Request, problem: HTTPException) -> Response:
        path = request.url.path
        if problem.status_code == 405:
            wrong_method = MethodNotAllowed(
                f"{path} does not take {request.method}; see /docs", allowed=methods_of(path) or ("GET", "HEAD")
            )
            return _response(problem_answer(wrong_method, path))
        if problem.status_code == 404:
            return _response(problem_answer(NotFound(f"there is no path {path}; see /docs"), path))
        if problem.detail == UNREADABLE:
            return _response(
                problem_answer(InvalidInput("the body cannot be read; it is nested too deeply, or not UTF-8"), path)
            )
        return _response(problem_answer(InvalidInput(str(problem.detail)), path))

    @app.exception_handler(Exception)
    def unexpected(request: Request, _problem: Exception) -> Response:
        return _response(unexpected_answer(request.url.path))

    return app


def _field(error: Mapping[str, Any]) -> tuple[str, str]:
    """Where a request does not fit, and what is wrong there."""
    where = ".".join(map(str, error["loc"][1:])) or str(error["loc"][0])
    match error["type"]:
        case "json_invalid":
            return "body", f"not JSON, {error['ctx']['error']} at character {where}"
        case "extra_forbidden":
            return where, "unknown field; /docs lists the known ones"
        case "union_tag_not_found":
            return where, "the field 'kind' is missing; allowed: 'train', 'tune', 'evaluate', 'compress'"
    return where, str(error["msg"])


def _response(answer: Answer) -> Response:
    headers = {key.decode(): value.decode() for key, value in answer.headers}
    return Response(answer.body, answer.status, headers, media_type=answer.content_type.decode())

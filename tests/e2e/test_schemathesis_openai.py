"""/v1 is answered as /openapi.json says, by a real server: for whatever fits it and for what does not, and for nobody without a
key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from described_server import Described, can_be_broken
from fault_server import FaultServer
from schemathesis import Case, GenerationMode

from modeltap.api.control import control_app
from modeltap.api.openai.described import TAG

Route = tuple[str, str]
DOCUMENT = control_app(cast(Any, None)).openapi()
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if operation.get("tags") == [TAG]
}
ROUTES = sorted(OPERATIONS, key=lambda route: (route[0] == "DELETE", route[1]))
BREAKABLE = [route for route in ROUTES if can_be_broken(OPERATIONS[route])]
NUM, NUM_BROKEN = 4, 3
SHORT: dict[str, Any] = {"max_tokens": 3, "max_completion_tokens": 3, "max_output_tokens": 16, "n": 1, "best_of": 1}
TALK = [{"role": "user", "content": "hello"}]
PLEASING: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "tiny", "prompt": "Once", **SHORT},
    "/v1/engines/{engine}/completions": {"prompt": "Once", **SHORT},
    "/v1/chat/completions": {"model": "tiny", "messages": TALK, **SHORT},
    "/v1/responses": {"model": "tiny", "input": "hello", **SHORT},
    "/v1/embeddings": {"model": "vectors", "input": "hello"},
    "/v1/moderations": {"model": "moderation", "input": "hello"},
}
KEPT = ("stream", "stream_options", "temperature", "user", "encoding_format", "seed")
"""Of what was made up, beside the fields that please."""
JOBS = "/v1/fine_tuning/jobs"
HARD_TO_PLEASE: set[Route] = {
    ("POST", "/v1/batches"),
    ("POST", "/v1/batches/{batch_id}/cancel"),
    ("POST", JOBS),
    *(("POST", f"{JOBS}/{{job_id}}/{action}") for action in ("cancel", "pause", "resume")),
}
"""Want a job in the right state, or begin one that takes a process and its time."""


class World:
    """The server by its description, and what there is on it."""

    def __init__(self, server: FaultServer) -> None:
        lines = b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {}}'
        sent = {"data": {"purpose": "batch"}, "files": {"file": ("lines.jsonl", lines)}}
        file_id = server.ask("POST", "/v1/files", **sent)["id"]
        asked = {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
        batch_id = server.ask("POST", "/v1/batches", json=asked)["id"]
        job_id = server.ask("GET", JOBS)["data"][-1]["id"]
        self._spare = server.ask("POST", "/v1/files", **sent)["id"]
        self._pleased: set[Route] = set()
        self._things = {"file_id": file_id, "batch_id": batch_id, "job_id": job_id, "model": "tiny", "engine": "tiny"}
        self.described = Described(str(server.client.base_url), (server.home / "admin.key").read_text().strip())

    def lead(self, case: Case, is_there: bool) -> None:
        """To something that is there."""
        if is_there and case.operation.path != f"{JOBS}/{{job_id}}/resume":  # which would begin
            for name in case.path_parameters or {}:
                case.path_parameters[name] = self._spare if case.method == "DELETE" else self._things[name]

    def please(self, case: Case, is_there: bool) -> None:
        """The request is one that is answered, and shortly; the first of each route in any case."""
        route = case.method, case.operation.path
        is_there = is_there or route not in self._pleased
        self._pleased.add(route)
        self.lead(case, is_there)
        path = case.operation.path
        if not isinstance(case.body, dict):
            return
        short = {name: value for name, value in SHORT.items() if name in case.body}
        case.body.update(short)
        if not is_there or path not in PLEASING:
            return
        properties = DOCUMENT["components"]["schemas"][reference(OPERATIONS["POST", path])]["properties"]
        kept = {name: case.body[name] for name in KEPT if name in case.body}
        case.body = kept | {name: value for name, value in PLEASING[path].items() if name in properties}
        case.headers.pop("idempotency-key", None)
        if not case.body.get("stream"):
            case.body.pop("stream_options", None)


def reference(operation: dict[str, Any]) -> str:
    return str(operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2])


@pytest.fixture(scope="module")
def world(texts_served: FaultServer) -> Iterator[World]:
    made = World(texts_served)
    with closing(made.described):
        yield made
    assert "Traceback" not in texts_served.log(), texts_served.log()[-5000:]


@pytest.mark.parametrize("route", BREAKABLE, ids=" ".join)
def test_a_path_refuses_what_its_description_does_not_allow(world: World, route: Route) -> None:
    world.described.hold(route, GenerationMode.NEGATIVE, world.lead, num=NUM_BROKEN)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_path_keeps_to_its_description(world: World, route: Route) -> None:
    statuses = world.described.hold(route, GenerationMode.POSITIVE, world.please, num=NUM)
    assert min(statuses) < 300 or route in HARD_TO_PLEASE, f"nothing but refusals: {statuses}"

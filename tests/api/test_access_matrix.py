"""Every route and every gRPC method, asked with every kind of key: what opens and what does not follows from the one table of
`api/access.py` and the three short ones here; nothing is left out, and no refusal tells of the inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import httpx
import pytest
from door_world import QUESTION, ROWS, door_open
from fault_server import FaultServer, until
from tritonclient.grpc import service_pb2, service_pb2_grpc

from modeltap.api.access import NEEDS
from modeltap.api.docs import DATA_PLANE
from modeltap.api.grpc_calls import InferenceCalls
from modeltap.api.guard import OPEN_PATHS
from modeltap.api.memory_regions import MemoryRegions
from modeltap.api.openai.control_routes import control_routes
from modeltap.api.openai.described import OPERATIONS
from modeltap.api.openai.routes import model_routes
from modeltap.domain.tenant import SCOPES, Scope, granted_scopes

Rule = Literal["open", "any key", "root"] | tuple[Scope, ...]
PREDICT: Rule = ("predict",)
EXPLAIN: Rule = ("explain",)

PAGES: dict[tuple[str, str], Rule] = {
    **{("GET", path): "open" for path in sorted(OPEN_PATHS)},
    ("GET", "/docs"): "any key",
    ("GET", "/openapi.json"): "any key",
    ("GET", "/metrics"): "root",
    ("GET", "/no/such/path"): "any key",
    ("GET", "/api"): "any key",
    ("GET", "/v2"): "any key",
    ("GET", "/v2/models/stats"): PREDICT,
    ("POST", "/v2/repository/index"): "any key",
    ("POST", "/v2/repository/models/{deployment}/load"): "any key",
    ("POST", "/v2/repository/models/{deployment}/unload"): "any key",
    ("GET", "/v2/systemsharedmemory/status"): "any key",
    ("POST", "/v2/systemsharedmemory/region/part/register"): "any key",
}
MODELS: dict[tuple[str, str], Rule] = {
    ("POST", "/predict/{deployment}"): PREDICT,
    ("POST", "/v1/models/{deployment}:predict"): PREDICT,
    ("POST", "/explain/{deployment}"): EXPLAIN,
    ("POST", "/v1/models/{deployment}:explain"): EXPLAIN,
    ("GET", "/v2/models/{deployment}"): PREDICT,
    ("GET", "/v2/models/{deployment}/ready"): PREDICT,
    ("GET", "/v2/models/{deployment}/config"): PREDICT,
    ("GET", "/v2/models/{deployment}/stats"): PREDICT,
    ("POST", "/v2/models/{deployment}/infer"): PREDICT,
    ("GET", "/v2/models/{deployment}/versions/1"): PREDICT,
    ("POST", "/v2/models/{deployment}/versions/1/infer"): PREDICT,
}
"""Paths of one deployment, which a public one answers without a key."""
TRAIN: Rule = ("train",)
FILES: Rule = ("predict", "train")
V1: dict[tuple[str, str], Rule] = {
    **dict.fromkeys(
        [("GET", f"/v1/{what}") for what in ("models", "models/{model}", "engines", "engines/{engine}")], "any key"
    ),
    **dict.fromkeys(
        [
            ("POST", f"/v1/{what}")
            for what in (
                "completions",
                "engines/{engine}/completions",
                "chat/completions",
                "responses",
                "embeddings",
                "moderations",
            )
        ],
        PREDICT,
    ),
    **dict.fromkeys([("GET", "/v1/files"), ("POST", "/v1/files")], FILES),
    **dict.fromkeys([("GET", "/v1/files/{id}"), ("DELETE", "/v1/files/{id}"), ("GET", "/v1/files/{id}/content")], FILES),
    **dict.fromkeys([("GET", "/v1/batches"), ("POST", "/v1/batches"), ("GET", "/v1/batches/{id}")], PREDICT),
    ("POST", "/v1/batches/{id}/cancel"): PREDICT,
    **dict.fromkeys([("GET", "/v1/fine_tuning/jobs"), ("POST", "/v1/fine_tuning/jobs")], TRAIN),
    **dict.fromkeys([("GET", f"/v1/fine_tuning/jobs/{{id}}{what}") for what in ("", "/events", "/checkpoints")], TRAIN),
    **dict.fromkeys([("POST", f"/v1/fine_tuning/jobs/{{id}}/{what}") for what in ("cancel", "pause", "resume")], TRAIN),
}
ASKED = {
    "completions": {"prompt": "x"},
    "chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    **{what: {"input": "x"} for what in ("responses", "embeddings", "moderations")},
}
"""Of a model that writes no text."""
METHODS: dict[str, Rule] = {
    "ServerLive": "open",
    "ServerReady": "open",
    "ServerMetadata": "any key",
    "RepositoryIndex": "any key",
    "RepositoryModelLoad": "any key",
    "RepositoryModelUnload": "any key",
    **{
        f"{kind}SharedMemory{what}": "any key"
        for kind in ("System", "Cuda")
        for what in ("Status", "Register", "Unregister")
    },
    **{f"Model{what}": PREDICT for what in ("Ready", "Metadata", "Config", "Statistics", "Infer", "StreamInfer")},
}  # fmt: skip
MODEL_NAMED = ("ModelInfer", "ModelStreamInfer")
REAL = {
    "ref": "double@1",
    "name": "double",
    "alias": "best",
    "action": "cancel",
    "job_id": "j-none",
    "batch_id": "j-none",
    "key_id": "none",
}
NOTHING = {**dict.fromkeys(REAL, "none"), "action": "cancel"}
INSIDE = re.compile(r'Traceback|File "|\.py\b|/usr/|/home/|site-packages|sqlalchemy|object at 0x', re.I)
LISTS = ("/api/models", "/api/deployments", "/api/keys", "/api/datasets", "/api/jobs")


@dataclass(frozen=True)
class Who:
    """A caller, and what its key is good for; None is a key that opens nothing."""

    key: str | None
    scopes: frozenset[Scope] | None = None
    is_root: bool = False
    tenant: str = "default"
    models: tuple[str, ...] | None = None

    def may(self, rule: Rule | None) -> bool:
        """`rule` None is the admin key alone, as in the table of the control routes."""
        if rule == "open" or self.is_root:
            return True
        if self.scopes is None or rule is None or rule == "root":
            return False
        return rule == "any key" or bool(self.scopes & set(rule))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with door_open(tmp_path_factory.mktemp("matrix")) as server:
        yield server


@pytest.fixture(scope="module")
def bare(served: FaultServer) -> Iterator[httpx.Client]:
    """Sends no key by itself."""
    with httpx.Client(base_url=served.client.base_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def people(served: FaultServer, bare: httpx.Client) -> dict[str, Who]:
    def made(tenant: str = "default", **about: Any) -> dict[str, Any]:
        key: dict[str, Any] = served.ask("POST", "/api/keys", headers={"modeltap-tenant": tenant}, json=about)
        return key

    served.ask("POST", "/api/tenants", json={"name": "stranger"})
    gone, short, old = made(scopes=["admin"]), made(scopes=["admin"], expires_in_s=1), made(scopes=["admin"])
    served.ask("DELETE", f"/api/keys/{gone['id']}")
    served.ask("POST", f"/api/keys/{old['id']}/rotate", json={"grace_s": 0})
    live = served.client.headers["x-api-key"]
    found = {
        "no key": Who(None),
        "an empty key": Who(""),
        "a garbled key": Who("mt-\xff\xfe"),
        "half of the right key": Who(live[: len(live) // 2]),
        "an unknown key": Who("mt-" + "a" * 12 + "-" + "b" * 32),
        "another secret for a key there is": Who(made()["key"][:-4] + "aaaa"),
        "a revoked key": Who(gone["key"]),
        "an expired key": Who(short["key"]),
        "a key that was rotated": Who(old["key"]),
        "a key of another tenant": Who(
            made("stranger", scopes=["admin"])["key"], granted_scopes(("admin",)), tenant="stranger"
        ),
        "a key for other models": Who(
            made(scopes=["predict"], models=["words"])["key"], granted_scopes(("predict",)), models=("words",)
        ),
        **{f"a key to {scope}": Who(made(scopes=[scope])["key"], granted_scopes((scope,))) for scope in SCOPES},
        "the admin key": Who(live, frozenset(SCOPES), is_root=True),
    }
    until("the short one has expired", lambda: call(bare, found["an expired key"], "GET", "/docs").status_code == 401)
    return found


def call(client: httpx.Client, who: Who, method: str, path: str, **more: Any) -> httpx.Response:
    headers = {} if who.key is None else {"x-api-key": who.key.encode("latin-1")}
    return client.request(method, path, headers=headers, **more)


def says_nothing_of_the_inside(server: FaultServer, answer: httpx.Response) -> None:
    if answer.status_code >= 400:
        assert not INSIDE.search(answer.text) and str(server.home) not in answer.text, answer.text
        assert server.client.headers["x-api-key"] not in answer.text


def everything(server: FaultServer) -> list[str]:
    """What the default tenant has."""
    return [server.client.get(path).text for path in LISTS]


WHO = (
    "no key",
    "an empty key",
    "a garbled key",
    "half of the right key",
    "an unknown key",
    "another secret for a key there is",
    "a revoked key",
    "an expired key",
    "a key that was rotated",
    "a key of another tenant",
    "a key for other models",
    *(f"a key to {scope}" for scope in SCOPES),
    "the admin key",
)


def test_everybody_is_asked_for(people: dict[str, Who]) -> None:
    assert set(people) == set(WHO)


def test_no_route_is_left_out(served: FaultServer) -> None:
    paths = served.ask("GET", "/openapi.json")["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    described -= {(one.method, one.path) for one in OPERATIONS}
    assert described - {(method, path) for method, path, _ in DATA_PLANE} == set(NEEDS)
    for method, path, _ in DATA_PLANE:
        listed = {**PAGES, **MODELS}
        assert (method, path) in listed or path == "/predict", path
    routes = [*model_routes(None, max_body_bytes=1), *control_routes(None)]  # type: ignore[arg-type]
    assert {(route.method, re.sub("{file_id}|{job_id}|{batch_id}", "{id}", route.pattern)) for route in routes} == set(V1)
    assert {*InferenceCalls(None, MemoryRegions(None), max_body_bytes=1).methods, "ModelStreamInfer"} == set(METHODS)  # type: ignore[arg-type]


@pytest.mark.parametrize("who", WHO)
def test_control_routes(served: FaultServer, bare: httpx.Client, people: dict[str, Who], who: str) -> None:
    """Whoever is let in asks for what there is not, or with a body that no route takes; whoever is not, for what there is."""
    caller, before = people[who], everything(served)
    is_stranger = caller.tenant == "stranger"
    for (method, path), need in NEEDS.items():
        opens = caller.may(need)
        filled = path.format(**(NOTHING if opens and not is_stranger else REAL))
        body = {"json": {"no such field": 1}} if method in ("POST", "PUT", "PATCH") else {}
        answer = call(bare, caller, method, filled, **body)
        told = f"{who}: {method} {filled} → {answer.status_code} {answer.text[:200]}"
        says_nothing_of_the_inside(served, answer)
        if caller.scopes is None:
            assert answer.status_code == 401 and answer.json()["code"] == "unauthenticated", told
            assert "Bearer" in answer.headers["www-authenticate"], told
        elif not opens:
            assert answer.status_code == 403 and answer.json()["code"] == "forbidden", told
        else:
            assert answer.status_code not in (401, 403) and answer.status_code < 500, told
            if "{" in path and not body:
                assert answer.status_code == 404, told
            if is_stranger and method == "GET" and answer.status_code == 200:
                assert "double" not in answer.text and "default" not in answer.text, told
    assert everything(served) == before


@pytest.mark.parametrize("who", WHO)
def test_pages_and_the_data_plane(served: FaultServer, bare: httpx.Client, people: dict[str, Who], who: str) -> None:
    caller = people[who]
    for (method, path), rule in {**PAGES, **MODELS}.items():
        is_model = (method, path) in MODELS
        for name in ("double", "open", "words", "none") if is_model else ("double",):
            body = {"content": QUESTION if path.endswith("infer") else ROWS} if method == "POST" else {}
            answer = call(bare, caller, method, path.format(deployment=name), **body)
            told = f"{who}: {method} {path} {name} → {answer.status_code} {answer.text[:200]}"
            says_nothing_of_the_inside(served, answer)
            is_public = is_model and name == "open" and not caller.key
            if caller.scopes is None and rule != "open" and not is_public:
                assert answer.status_code == 401, told
            elif not is_public and not caller.may(rule):
                assert answer.status_code == 403, told
            elif is_model and (name == "none" or (caller.tenant == "stranger" and not is_public)):
                assert answer.status_code == 404, told
            elif is_model and caller.models is not None and name not in caller.models:
                assert answer.status_code == 403, told
            else:
                assert answer.status_code in (200, 400, 404, 422), told
                # Graphs of bare tensors, as these are, are not explained.
                answered = 400 if rule == EXPLAIN else 200
                assert answer.status_code == answered or not (is_model and name in ("double", "open")), told
            if path.startswith("/v2/repository/index") and answer.status_code == 200:
                listed = {entry["name"] for entry in answer.json()}
                assert listed == allowed(caller), told


@pytest.mark.parametrize("who", WHO)
def test_what_openais_clients_ask(served: FaultServer, bare: httpx.Client, people: dict[str, Who], who: str) -> None:
    """Nobody with too little of a key gets further than that; others hear that there is no such thing, or no such answer."""
    caller, before = people[who], everything(served)
    for (method, path), rule in V1.items():
        filled = path.format(id="none", model="none", engine="none")
        asked = ASKED.get(path.removeprefix("/v1/"))
        body = {"json": {"model": "double", **asked}} if asked else {"json": ASKED["completions"]} if "engine" in path else {}
        body = body if method == "POST" else {}
        answer = call(bare, caller, method, filled, **body)
        told = f"{who}: {method} {filled} → {answer.status_code} {answer.text[:200]}"
        says_nothing_of_the_inside(served, answer)
        assert answer.status_code == 200 or set(answer.json()["error"]) == {"message", "type", "param", "code"}, told
        if caller.scopes is None:
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), told
        elif not caller.may(rule) or (caller.models is not None and "double" not in caller.models and asked):
            assert answer.status_code == 403, told
        elif method == "GET" and "{" not in path:
            assert answer.status_code == 200 and (caller.tenant != "stranger" or "double" not in answer.text), told
        elif "{id}" in path or (body and caller.tenant == "stranger"):
            assert answer.status_code == 404, told
        else:
            assert answer.status_code in (400, 404, 415, 422), told
    assert everything(served) == before


def allowed(who: Who) -> set[str]:
    """The deployments that it sees."""
    if who.tenant == "stranger":
        return set()
    return {"double", "open", "spin", "rows", "words"} & set(who.models or ("double", "open", "spin", "rows", "words"))


OPENED = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}


@pytest.mark.parametrize("who", [who for who in WHO if who != "a garbled key"])
def test_grpc_methods(served: FaultServer, people: dict[str, Who], who: str) -> None:
    """A garbled key is one that gRPC itself does not send."""
    caller = people[who]
    metadata = () if caller.key is None else (("authorization", f"Bearer {caller.key}"),)
    address = json.loads((served.home / "server.json").read_text())["grpc"]
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for method, rule in METHODS.items():
            for name in ("double", "open", "none") if rule == PREDICT else ("double",):
                code, told = grpc_status(stub, method, name, metadata)
                told = f"{who}: {method} {name} → {code} {told}"
                assert not INSIDE.search(told) and str(served.home) not in told, told
                is_public = rule == PREDICT and name == "open" and not caller.key
                if caller.scopes is None and rule != "open" and not is_public:
                    assert code == grpc.StatusCode.UNAUTHENTICATED, told
                elif not is_public and not caller.may(rule):
                    assert code == grpc.StatusCode.PERMISSION_DENIED, told
                elif rule == PREDICT and (name == "none" or (caller.tenant == "stranger" and not is_public)):
                    assert code == grpc.StatusCode.NOT_FOUND or method == "ModelReady", told
                elif rule == PREDICT and caller.models is not None and not is_public:
                    assert code == grpc.StatusCode.PERMISSION_DENIED, told
                else:
                    assert code in OPENED, told


def grpc_status(stub: Any, method: str, name: str, metadata: Any) -> tuple[grpc.StatusCode, str]:
    """The status of a call about this model, with its words; of a stream that of its only answer."""
    if method in MODEL_NAMED:
        request = service_pb2.ModelInferRequest(model_name=name, raw_input_contents=[bytes(16)])
        request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    else:
        request = getattr(service_pb2, f"{method}Request")()
        for field in ("name", "model_name"):
            if field in request.DESCRIPTOR.fields_by_name and method.startswith(("Model", "Repository")):
                setattr(request, field, name)
    try:
        answer = getattr(stub, method)(iter([request]) if method == "ModelStreamInfer" else request, metadata=metadata)
        if method == "ModelStreamInfer":
            (only,) = answer
            return stream_status(only.error_message), only.error_message
    except grpc.RpcError as failed:
        return failed.code(), str(failed.details())
    return grpc.StatusCode.OK, str(answer) if "Metadata" not in method else ""


def stream_status(message: str) -> grpc.StatusCode:
    """A stream tells of a failure in words alone."""
    for words, status in (
        ("no key was sent", grpc.StatusCode.UNAUTHENTICATED),
        ("is not known here", grpc.StatusCode.UNAUTHENTICATED),
        ("was revoked", grpc.StatusCode.UNAUTHENTICATED),
        ("has expired", grpc.StatusCode.UNAUTHENTICATED),
        ("is not found", grpc.StatusCode.NOT_FOUND),
        ("the key ", grpc.StatusCode.PERMISSION_DENIED),
    ):
        if words in message:
            return status
    return grpc.StatusCode.OK if not message else grpc.StatusCode.UNKNOWN


def test_no_file_of_the_home_is_told(served: FaultServer, bare: httpx.Client, people: dict[str, Who]) -> None:
    for name in ("admin.key", "pepper", "modeltap.db", "server.json"):
        for path in (f"/{name}", f"/api/{name}", f"/docs/../{name}", f"/api/models/..%2f{name}", f"/static/{name}"):
            answer = call(bare, people["a key to admin"], "GET", path)
            assert answer.status_code in (400, 404), path
            says_nothing_of_the_inside(served, answer)
    assert Path(served.home / "admin.key").stat().st_mode & 0o077 == 0

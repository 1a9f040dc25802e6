"""A request gets one answer, whether the hot path takes it or it goes the ordinary way: status, body, and the names of its
headers. Its body comes once with a length and once in chunks, which only the ordinary way reads."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from door_world import INFER, PREDICT, QUESTION, ROWS, TENSOR, ask, in_chunks, request
from fault_server import FaultServer

MARK = "x-request-id: the-same"
TRACE = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def tensors(*changes: dict[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": [{**TENSOR, **change} for change in changes or ({},)], **more}).encode()


PATHS = [
    INFER,
    PREDICT,
    "/predict",
    "/predict/",
    "/predict/double/",
    "/predict/double/more",
    "/predict/nobody",
    "/predict//double",
    "/predict/..",
    "/predict/" + "a" * 300,
    "/predict#part",
    "/predict/double#part",
    "/predict?a=b",
    "/predict/doubl%65",
    "/predictdouble",
    "/predictions",
    "/invocations",
    "/v1/models/double:predict",
    "/v2",
    "/v2/models/",
    "/v2/models/infer",
    "/v2/models//infer",
    "/v2/models//double/infer",
    "/v2/models/nobody/infer",
    "/v2/models/double",
    "/v2/models/double/ready",
    "/v2/models/double/infer/",
    "/v2/models/double/infer#part",
    "/v2/models/double/versions/1/infer",
    "/v2/models/double/versions/01/infer",
    "/v2/models/double/versions/2/infer",
    "/v2/models/double/versions/0/infer",
    "/v2/models/double/versions/x/infer",
    "/v2/models/double/versions//infer",
    "/v2/models/double/versions/infer",
    "/v2/models/versions/1/infer",
    "/v2/models/../infer",
    "/predict/open",
    "/v2/models/open/infer",
]
BODIES = [
    QUESTION,
    ROWS,
    b"",
    b" ",
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"\xff",
    b"{" * 5_000,
    b'{"inputs":{"x":[[1,2,3,4]]}}',
    b'{"inputs":[[1,2,3,4]]}',
    b'{"inputs":[]}',
    b'{"inputs":{}}',
    b'{"x":[1,2,3,4]}',
    b'{"x":[[1,2,3,4],[5,6,7,8]]}',
    b'{"x":[[1,2,3,4],[5,6,7]]}',
    b'{"instances":[]}',
    b'{"instances":1}',
    b'{"instances":[[1,2,3,NaN]]}',
    b'{"instances":[[1,2,3,1e400]]}',
    b'{"instances":[[1,2,3,4]],"more":1}',
    b'{"instances":[' + b",".join([b"[1,2,3,4]"] * 3000) + b"]}",
    b'{"instances":[' + b",".join([b"1"] * 20_000) + b"]}",
    tensors({"data": [1, 2, 3, "a"]}),
    tensors({"data": [[1, 2, 3, 4]]}),
    tensors({"datatype": "FP64"}),
    tensors({"datatype": "FP99"}),
    tensors({"shape": [2, 4]}),
    tensors({"name": "y"}),
    tensors({}, {}),
    tensors(id="seven"),
    tensors(id=7),
    tensors(outputs=[{"name": "z"}]),
    tensors(outputs=[{"name": "y"}, {"name": "y"}]),
    tensors(outputs=[{"name": "y", "parameters": {"binary_data": True}}]),
    tensors(parameters={"binary_data_output": True}),
    tensors(parameters={"timeout": -1}),
    tensors(parameters={"timeout": "soon"}),
    tensors(parameters={"priority": 2}),
    tensors({"shape": [3000, 4], "data": [1] * 12_000}),
]
HEADERS = [
    (),
    ("content-type: application/json",),
    ("content-type: application/json; charset=utf-8",),
    ("content-type: text/csv",),
    ("content-type: image/png",),
    ("content-type: multipart/form-data",),
    ("content-type: application/octet-stream",),
    ("content-type: a", "content-type: application/json"),
    ("content-encoding: identity",),
    ("inference-header-content-length: 10",),
    (f"inference-header-content-length: {len(QUESTION)}",),
    (f"inference-header-content-length: {len(QUESTION)}", "inference-header-content-length: 10"),
    ("inference-header-content-length: x",),
    ("inference-header-content-length: \xa0",),
    ("accept-encoding: gzip",),
    ("accept-encoding: deflate",),
    ("accept-encoding: gzip, deflate",),
    ("accept-encoding: gzip", "accept-encoding: identity"),
    ("modeltap-tenant: nobody",),
    ("modeltap-tenant: default",),
    ("modeltap-tenant: nobody", "modeltap-tenant: default"),
    ("x-request-id: another",),
    (TRACE,),
    ("traceparent: nonsense",),
    ("x-api-key: mt-wrong",),
    ("authorization: Bearer mt-wrong",),
    ("modeltap-priority: bulk",),
    ("modeltap-priority: no such",),
    ("modeltap-key: nobody",),
    ("origin: https://elsewhere",),
    ("accept: text/plain",),
]


def both_ways(server: FaultServer, path: str, body: bytes, headers: Sequence[str], *, with_key: bool) -> None:
    key = server if with_key else None
    answers = []
    for asked in (request(key, path, body, *headers, MARK), in_chunks(key, path, body, *headers, MARK)):
        reply = ask(server, asked)
        own = {name: value for name, value in reply.headers.items() if name in ("content-type", "x-request-id", "allow")}
        trace = reply.headers.get("traceparent", "").split("-")[1:2] if TRACE in headers else None
        answers.append((reply.status, sorted(reply.headers), own, trace, reply.body))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("with_key", [True, False], ids=["with a key", "without"])
@pytest.mark.parametrize("path", PATHS)
def test_on_every_path(door: FaultServer, path: str, with_key: bool) -> None:
    for body in (QUESTION, ROWS):
        both_ways(door, path, body, (), with_key=with_key)


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_for_every_body(door: FaultServer, path: str) -> None:
    for body in BODIES:
        both_ways(door, path, body, (), with_key=True)


@pytest.mark.parametrize("path", [INFER, PREDICT, "/v2/models/open/infer", "/predict/open"])
def test_with_every_header(door: FaultServer, path: str) -> None:
    for headers in HEADERS:
        for with_key in (True, False):
            both_ways(door, path, QUESTION if path.startswith("/v2") else ROWS, headers, with_key=with_key)


def test_a_public_deployment_answers_without_a_key_whatever_the_form(door: FaultServer) -> None:
    """A second look for it, behind the body, once found nothing any more."""
    csv = ask(door, request(None, "/predict/open", b"1,2,3,4\n", "content-type: text/csv"))
    assert csv.told["predictions"] == [[2.0, 4.0, 6.0, 8.0]]
    many = b'{"instances":[' + b",".join([b"[1,2,3,4]"] * 20_000) + b"]}"
    for body in (ROWS, many):
        for asked in (request(None, "/predict/open", body), in_chunks(None, "/predict/open", body)):
            assert ask(door, asked).told["predictions"][-1] == [2.0, 4.0, 6.0, 8.0]

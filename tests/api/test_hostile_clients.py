"""Requests that are made to crash, hang, smuggle or bypass: the server refuses them and goes on."""

from __future__ import annotations

import io
import json
import re
import socket
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer
from PIL import Image

BODY = json.dumps({"instances": [{"age": 30, "city": "Bonn", "joined": None, "member": None}]}).encode()
WAIT_S = 20.0
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def raw(server: FaultServer, data: bytes, *, end: bool = False) -> bytes:
    """Everything that the server says until it closes the connection; `end` closes our side after the data."""
    with socket.create_connection(server.address, timeout=WAIT_S) as connection:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        said = b""
        while piece := connection.recv(65536):
            said += piece
    return said


def request(server: FaultServer, *headers: bytes, body: bytes = b"", line: bytes = b"POST /predict/people HTTP/1.1") -> bytes:
    key = b"x-api-key: " + server.client.headers["x-api-key"].encode() + b"\r\n"
    return line + b"\r\nHost: x\r\nConnection: close\r\n" + key + b"".join(headers) + b"\r\n" + body


def length(number: int) -> bytes:
    return b"Content-Length: %d\r\n" % number


def status(said: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", said)
    assert found, said[:200]
    return int(found[1])


FRAMING: dict[str, tuple[list[bytes], bytes]] = {
    "two kinds of length": ([length(4), CHUNKED], b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "two lengths": ([length(5), length(len(BODY))], BODY),
    "a negative length": ([b"Content-Length: -1\r\n"], BODY),
    "a length with a sign": ([b"Content-Length: +5\r\n"], BODY),
    "a length of twenty digits": ([b"Content-Length: 99999999999999999999\r\n"], BODY),
    "an unknown coding": ([b"Transfer-Encoding: xchunked\r\n"], BODY),
    "a space before the colon": ([b"Transfer-Encoding : chunked\r\n"], b"0\r\n\r\n"),
    "a chunk of no size": ([CHUNKED], b"ZZ\r\n"),
    "a chunk of any size": ([CHUNKED], b"FFFFFFFFFFFFFFFFF\r\n"),
    "a header with a line feed in it": ([b"x-request-id: a\nset-cookie: b\r\n", b"x-broken\r\n"], b""),
    "a header with a NUL": ([b"x-request-id: a\x00b\r\n"], b""),
}


@pytest.mark.parametrize("what", FRAMING)
def test_a_request_whose_end_is_in_doubt_is_refused_and_the_connection_closed(server, what):
    headers, body = FRAMING[what]
    said = raw(server, request(server, *headers, body=body))
    assert status(said) == 400 and said.count(b"HTTP/1.1") == 1
    assert b"predictions" not in said


def test_a_body_smuggled_behind_another_is_a_request_of_its_own_and_needs_its_own_key(server):
    inner = b"GET /api/server HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    outer = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    said = raw(server, outer + inner)
    assert re.findall(rb"HTTP/1\.1 (\d{3})", said) == [b"200", b"401"]


def test_a_whole_request_by_hand_is_answered(server):
    for headers, body in (([length(len(BODY))], BODY), ([CHUNKED], b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))):
        said = raw(server, request(server, *headers, body=body))
        assert status(said) == 200 and b'"predictions"' in said


def test_a_client_that_goes_away_in_the_middle_of_its_body_leaves_nothing_behind(server):
    for _ in range(20):
        raw(server, request(server, length(1000), body=b"{"), end=True)
    assert server.client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/predict/%ff%fe%00", 404),
        (b"/predict/../api/server", 404),
        (b"/predict/%2e%2e%2f%2e%2e", 404),
        (b"/v2/models/a%0d%0aset-cookie:%20b", 404),
        (b"/v2/models/" + b"a" * 20_000, 404),
        (b"/predict/\xff\xfe", 400),
        (b"//predict/people", 404),
        (b"/predict;x/people", 404),
    ],
)
def test_a_strange_path_is_no_path_and_no_header(server, path, expected):
    method = b"GET" if path.startswith(b"/v2") else b"POST"
    said = raw(server, request(server, length(2), body=b"{}", line=method + b" " + path + b" HTTP/1.1"))
    head = said.partition(b"\r\n\r\n")[0]
    assert status(said) == expected and b"set-cookie" not in head and len(said) < 70_000


@pytest.mark.parametrize(
    "path", [b"/livez/../api/server", b"/livez/..%2fapi/server", b"http://x/api/server", b"/livez;/api/server"]
)
def test_an_open_path_does_not_lead_to_others(server, path):
    said = raw(server, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status(said) in (400, 401) and b"version" not in said


def bomb(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((7_000, 7_000), dtype=np.uint8)).save(out, kind)
    return out.getvalue()


def form(part: bytes, count: int) -> dict[str, Any]:
    content = b"".join(b"--b\r\n" + (part % place) for place in range(count)) + b"--b--\r\n"
    return {"content": content, "headers": {"content-type": "multipart/form-data; boundary=b"}}


def csv(content: bytes) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": "text/csv"}}


INFER = "/v2/models/signals/infer"
TENSOR = {"name": "x", "shape": [1, 100], "datatype": "FP32", "data": [0] * 100}
FILE_PART = b'Content-Disposition: form-data; name="f"; filename="%d.png"\r\n\r\n\r\n'
HEAVY: dict[str, tuple[str, int, dict[str, Any]]] = {
    "200,000 unknown columns": ("/predict/people", 422, {"json": {"instances": [{f"key{n}": 1 for n in range(200_000)}]}}),
    "a cell of 5 MB": ("/predict/people", 422, {"json": {"instances": [{"age": "a" * 5_000_000}]}}),
    "a million commas": ("/predict/people", 422, csv(b"," * 1_000_000)),
    "a million commas as the header": ("/predict/people", 422, csv(b"age,city" + b"," * 1_000_000 + b"\n1\n")),
    "a million quotes": ("/predict/people", 422, csv(b'"' * 1_000_000)),
    "a million line ends": ("/predict/people", 422, csv(b"\r\n" * 1_000_000)),
    "900 axes": ("/predict/signals", 422, {"content": b'{"x":' + b"[" * 900 + b"1" + b"]" * 900 + b"}"}),
    "axes without end": ("/predict/signals", 400, {"content": b"[" * 1_000_000}),
    "a shape of 200,000 extents": (
        "/v2/models/signals/infer",
        400,
        {"json": {"inputs": [{**TENSOR, "shape": [2**62] * 200_000}]}},
    ),
    "a name of 5 MB": ("/v2/models/signals/infer", 400, {"json": {"inputs": [{**TENSOR, "name": "n" * 5_000_000}]}}),
    "the same output 100,000 times": (
        "/v2/models/signals/infer",
        400,
        {"json": {"inputs": [TENSOR], "outputs": [{"name": "prediction"}] * 100_000}},
    ),
    "100,000 parts of a form": ("/predict/digits", 400, form(FILE_PART, 100_000)),
    "a form's header of 5 MB": ("/predict/digits", 400, form(b"X-%d: " + b"y" * 5_000_000 + b"\r\n\r\n\r\n", 1)),
    "a picture of 49 million pixels in some KB": (
        "/predict/digits",
        200,
        {"content": bomb("PNG"), "headers": {"content-type": "image/png"}},
    ),
}


@pytest.mark.parametrize("what", HEAVY)
def test_a_small_request_that_means_much_work_is_told_so_at_once(server, what):
    path, expected, body = HEAVY[what]
    answer = server.client.post(path, **body, timeout=WAIT_S)
    assert answer.status_code == expected, answer.text[:300]
    assert len(answer.content) < 20_000


def test_an_id_of_a_megabyte_is_echoed(server):
    given = "i" * 1_000_000
    answer = server.client.post("/v2/models/signals/infer", json={"id": given, "inputs": [TENSOR]})
    assert answer.status_code == 200 and answer.json()["id"] == given


def test_the_server_has_failed_nowhere(server):
    """The last test of this file: whatever was sent above, nothing ended in a failure that nobody named."""
    assert server.client.get("/readyz").json() == {"ready": True}
    assert "Traceback" not in server.log() and "failed" not in server.log()

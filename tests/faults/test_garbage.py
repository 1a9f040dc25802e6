"""What no client should send: it gets a named refusal or a closed connection, and nobody else notices."""

from __future__ import annotations

import random
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fault_server import FaultServer, serving, until
from flows_under_fault import ROW, UsedHomes, deploy, predict

IMPATIENT = """
from modeltap.api import connection
connection.HEAD_S = connection.SILENCE_S = connection.LOOK_EVERY_S = 1.0
"""
"""What takes a quarter of a minute and a whole one otherwise."""
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture(scope="module")
def server(used_homes: UsedHomes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """Serves the deployment `live`."""
    home = tmp_path_factory.mktemp("garbage") / "home"
    shutil.copytree(used_homes.with_models, home)
    with serving(home, IMPATIENT) as server:
        deploy(server)
        yield server
        assert "Traceback" not in server.log()


@pytest.fixture(autouse=True)
def others_are_answered(server: FaultServer) -> Iterator[None]:
    yield
    assert predict(server)["predictions"]


@pytest.fixture
def connect(server: FaultServer) -> Iterator[Callable[[], socket.socket]]:
    with ExitStack() as opened:
        yield lambda: opened.enter_context(socket.create_connection(server.address, timeout=30))


def head(server: FaultServer, line: str, *more: str) -> bytes:
    return "\r\n".join(
        [f"{line} HTTP/1.1", "host: x", f"x-api-key: {server.client.headers['x-api-key']}", *more, "", ""]
    ).encode()


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes."""
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except ConnectionError:
        pass
    return answer


GARBAGE = {
    "random": random.Random(5).randbytes(5000),
    "zeros": bytes(5000),
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + random.Random(6).randbytes(200),
    "a bare line": b"hello\r\n\r\n",
    "a control letter in the path": b"GET /livez\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
    "bytes in the path": b"GET /liv\xc3\xa9z HTTP/1.1\r\nhost: x\r\n\r\n",
    "a broken header": b"GET /livez HTTP/1.1\r\nhost x\r\n\r\n",
    "two lengths": b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a length that is none": b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{}",
    "a length beside chunks": (
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a chunk without a size": b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    "endless headers": b"GET /livez HTTP/1.1\r\n" + b"x-filler: " + b"a" * 1_000_000,
    "endless header lines": b"GET /livez HTTP/1.1\r\n" + b"x-filler: aaaa\r\n" * 20_000,
    "an endless path": b"GET /" + b"a" * 1_000_000,
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
def test_what_is_not_http_is_refused_and_the_connection_closed(connect: Callable[[], socket.socket], sent: bytes) -> None:
    connection = connect()
    with suppress(ConnectionError):
        connection.sendall(sent)
    answer = read_all(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer


def test_connections_that_stall_are_closed_and_stop_nobody(server: FaultServer, connect: Callable[[], socket.socket]) -> None:
    body = head(server, "POST /predict/live", "content-type: application/json", "content-length: 500")
    half = head(server, "GET /api/server")[:-2]
    stalled = [connect() for _ in range(60)]
    for number, connection in enumerate(stalled):
        connection.sendall((b"", half, body + b'{"instances": [', b"G")[number % 4])
    assert predict(server)["predictions"]
    for connection in stalled:
        assert read_all(connection) == b""


def test_a_client_that_does_not_read_stops_nobody(server: FaultServer, connect: Callable[[], socket.socket]) -> None:
    for _ in range(10):
        connection = connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(server, "GET /api/backup") + head(server, "GET /openapi.json") * 5)
    assert predict(server)["predictions"]


@pytest.mark.parametrize("path", ["/predict/live", "/api/jobs", "/v2/models/live/infer"])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    server: FaultServer, connect: Callable[[], socket.socket], path: str, announced: bool
) -> None:
    size_bytes = 50_000_000
    connection = connect()
    how = f"content-length: {size_bytes}" if announced else "transfer-encoding: chunked"
    connection.sendall(head(server, f"POST {path}", "content-type: application/json", how))
    piece = bytes(1_000_000)
    sent_bytes = 0
    try:
        while sent_bytes < size_bytes:
            connection.sendall(piece if announced else b"%x\r\n%b\r\n" % (len(piece), piece))
            sent_bytes += len(piece)
    except ConnectionError:
        pass
    assert read_all(connection).startswith(b"HTTP/1.1 413 ")
    assert sent_bytes < size_bytes, "all of it was read"


JSON_BODIES = {
    "nothing": b"",
    "half": b'{"instances": [',
    "deep": DEEP,
    "deep inside": b'{"instances": ' + DEEP + b"}",
    "not a number": b'{"instances": [{"x": NaN}]}',
    "infinity": b'{"instances": [{"x": 1e999}]}',
    "a number alone": b"1",
    "null": b"null",
    "not UTF-8": b'{"instances": [{"colour": "\xff"}]}',
    "half a letter": b'{"instances": [{"colour": "\\ud800"}]}',
    "a huge number": b'{"instances": [{"x": ' + b"9" * 5000 + b"}]}",
    "an unknown key": b'{"instance": []}',
    "rows that are none": b'{"instances": [1, "a", null, [[]]]}',
    "a recipe of NaN": b'{"kind": "train", "dataset": "toy", "recipe": {"optimizer": {"lr": NaN}}}',
    "a recipe of rubbish": b'{"kind": "train", "dataset": "toy", "task": "tabular-classification", "recipe": "a: [b, *c"}',
    "an endless recipe": (
        b'{"kind": "train", "dataset": "toy", "task": "tabular-classification",'
        b' "recipe": "a: &a [1]\\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\\nd: [*c,*c,*c,*c,*c,*c]"}'
    ),
}
JSON_PATHS = ("/predict/live", "/v2/models/live/infer", "/api/jobs", "/api/deployments", "/api/recipes/render", "/api/gc")


@pytest.mark.parametrize("content", JSON_BODIES.values(), ids=JSON_BODIES)
def test_json_that_is_wrong_is_a_named_refusal_everywhere(server: FaultServer, content: bytes) -> None:
    headers = {**server.client.headers, "content-type": "application/json"}
    for path in JSON_PATHS:
        # A connection of its own each: this server soon closes one that waits.
        answer = httpx.post(server.client.base_url.join(path), content=content, headers=headers, timeout=60.0)
        if path == "/api/gc" and content in (b"", b"null"):
            assert answer.status_code == 200  # its body may be left out
            continue
        assert 400 <= answer.status_code < 500, (path, answer.status_code, answer.text)
        assert answer.json().get("code") or answer.json().get("error"), (path, answer.text)
    assert all(job["state"] == "succeeded" for job in server.ask("GET", "/api/jobs")["jobs"])


PATHS = (
    "/predict/../api/server",
    "/predict/%2e%2e/api/server",
    "/predict/..%2fapi%2fserver",
    "/predict/live%00",
    "/predict/%00",
    "/predict//live//live",
    "/predict/" + "a" * 5000,
    "/predict/%ff%fe",
    "/predict/%F0%9F%92%A9",
    "/v2/models/%2e%2e/infer",
    "/v2/models/live%00/infer",
    "/v2/models/live/versions/%2e%2e/infer",
    "/api/../predict/live",
    "/api/models/%2e%2e",
    "/api/models/..%2f..%2fadmin.key",
    "/api/models/toy@1%00/report",
    "/api/models/toy@99999999999999999999",
    "/api/models/toy@1/recipe/../../../../admin.key",
    "/api/datasets/%00",
    "/api/datasets/toy@%00",
    "/api/datasets/toy@-1",
    "/api/jobs/..%2f..%2fadmin.key/log",
    "/api/jobs/%2e%2e/log",
    "/api/jobs/%00/events",
    "/api/deployments/%2e%2e%2f",
    "/api/compare?refs=..,%00",
    "/api/jobs?state=%00&limit=-1",
    "/api/jobs?limit=99999999999999999999999",
    "/../../admin.key",
    "/%2e%2e/%2e%2e/admin.key",
    "//api/server",
)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_that_leads_nowhere_is_a_named_refusal(
    server: FaultServer, connect: Callable[[], socket.socket], method: str
) -> None:
    body = b'{"instances": []}'
    for path in PATHS:
        connection = connect()
        more = ("content-type: application/json", f"content-length: {len(body)}", "connection: close")
        connection.sendall(head(server, f"{method} {path}", *more) + body)
        answer = read_all(connection)
        status = answer.partition(b"\r\n")[0]
        assert status.startswith(b"HTTP/1.1 4"), (path, answer[:500])
        assert b"mt-admin" not in answer
        assert str(server.home).encode() not in answer


NAMES = ("../x", "a/b", "a\x00b", "", ".", "..", "x" * 65, "-x", "é", "a b", "con\n", "a\\b", "%2e%2e", "x@1")


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_that_is_none_is_refused_wherever_it_is_given(server: FaultServer, name: str) -> None:
    alias = quote(name, safe="").replace(".", "%2E") or "%00"
    for answer in (
        server.client.post("/api/datasets", params={"name": name, "filename": "toy.csv"}, content=b"a,b\n1,2\n"),
        server.client.post("/api/deployments", json={"name": name, "model": "toy@1"}),
        server.client.post(
            "/api/jobs", json={"kind": "train", "dataset": "toy", "task": "tabular-classification", "name": name or "/"}
        ),
        server.client.put(f"/api/models/toy/aliases/{alias}", json={"version": 1}),
    ):
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["code"], answer.text
    assert not (server.home / "uploads").exists() or not list((server.home / "uploads").iterdir())


def test_a_file_name_leads_out_of_nothing(server: FaultServer) -> None:
    for filename in ("../../../etc/x.csv", "a\x00.csv", "x" * 5000 + ".csv", ".."):
        params: dict[str, Any] = {"name": "odd", "filename": filename, "wait": 30}
        answer = server.client.post("/api/datasets", params=params, content=b"a,b\n1,2\n3,4\n")
        assert answer.status_code in (201, *range(400, 500)), (filename, answer.text)
    assert ROW  # the deployment still answers, see others_are_answered
    until("no import is left", lambda: not server.ask("GET", "/api/jobs", params={"state": "running"})["jobs"])

"""A server to be attacked over bare sockets: its deployments, requests written byte by byte, and what came back."""

from __future__ import annotations

import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from fault_server import FaultServer, serving
from foreign_graphs import described, identity
from onnx import TensorProto
from small_bundles import Files, spinning_bundle, times_bundle, words_bundle

from modeltap.bundle.files import open_bundle
from modeltap.domain.deployment import Route
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database

WAIT_S = 30.0
PATIENT = {"deadline_ms": 600_000}
"""With such a deadline nothing is refused as too late on a busy machine."""
INFER, PREDICT = "/v2/models/double/infer", "/predict/double"
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
QUESTION = json.dumps({"inputs": [TENSOR]}).encode()
ROWS = b'{"instances":[[1,2,3,4]]}'


def make_home(home: Path, scratch: Path) -> None:
    """double, open (public): x FP32 (N, 4) → 2 x. spin: x INT64 (N, 1) → x, after x rounds, in a process of its own. rows:
    columns word and size. words: INPUT0 BYTES (N, 4) → itself, as an imported graph takes it."""
    scratch.mkdir(parents=True, exist_ok=True)
    double = times_bundle(scratch / "double")
    words = described(identity(TensorProto.STRING, ("N", 4)), scratch / "words")
    made: list[tuple[str, str, Files, dict[str, Any]]] = [
        ("double", "double", double, PATIENT),
        ("open", "double", double, {**PATIENT, "is_public": True}),
        ("spin", "spin", spinning_bundle(scratch / "spin"), {**PATIENT, "isolate": True}),
        ("rows", "rows", words_bundle(scratch / "rows"), PATIENT),
        ("words", "words", words, PATIENT),
    ]
    database = open_database(home)
    artifacts = ArtifactStore(home / "artifacts")
    models, deployments = ModelRepository(database, DEFAULT_TENANT), DeploymentRepository(database, DEFAULT_TENANT)
    now = datetime.now(UTC)
    for name, model, files, terms in made:
        digest = artifacts.put_tree(files)
        if name != "open":
            models.add(model, digest, open_bundle(files).manifest, None, now)
        deployments.put(name, [Route(model=model, version=1, digest=digest)], now, terms=terms)
    database.close()


@contextmanager
def door_open(folder: Path, before: str = "", **environment: str) -> Iterator[FaultServer]:
    """A server on such a home whose deployments are loaded."""
    home = folder / "home"
    make_home(home, folder / "scratch")
    with serving(home, before, **environment) as server:
        for name in ("double", "open", "spin", "rows", "words"):
            wait_ready(server, name)
        yield server
        assert "Traceback" not in server.log(), server.log()[-5000:]


@pytest.fixture(scope="session")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with door_open(tmp_path_factory.mktemp("door")) as server:
        yield server


def wait_ready(server: FaultServer, name: str) -> None:
    give_up_s = time.monotonic() + WAIT_S
    while server.client.get(f"/v2/models/{name}/ready").status_code != 200:
        assert time.monotonic() < give_up_s, f"{name} does not become ready"
        time.sleep(0.02)


def key_of(server: FaultServer) -> str:
    key: str = server.client.headers["x-api-key"]
    return key


def request(
    server: FaultServer | str | None,
    path: str = INFER,
    body: bytes = QUESTION,
    *headers: str,
    method: str = "POST",
    version: str = "1.1",
    length: bool = True,
    close: bool = True,
) -> bytes:
    """A request with the server's own key, the key given, or none; `headers` come behind those that it always has."""
    key = key_of(server) if isinstance(server, FaultServer) else server
    lines = [f"{method} {path} HTTP/{version}", "host: door"]
    lines += ["connection: close"] * close + ([] if key is None else [f"x-api-key: {key}"])
    lines += [f"content-length: {len(body)}"] * length + list(headers)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunks(body: bytes, size: int | None = None) -> bytes:
    """The body in chunks of so many bytes; all in one, if None."""
    size = size or max(len(body), 1)
    pieces = [body[place : place + size] for place in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def in_chunks(server: FaultServer | str | None, path: str, body: bytes, *headers: str, size: int | None = None) -> bytes:
    """The same request as `request` makes, with its body in chunks: it goes the ordinary way."""
    return request(server, path, chunks(body, size), "transfer-encoding: chunked", *headers, length=False)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


def connect(server: FaultServer) -> socket.socket:
    """A connection on which each piece is sent at once."""
    connection = socket.create_connection(server.address, timeout=WAIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(server: FaultServer, *pieces: bytes, end: bool = False) -> bytes:
    """All that the server says until it closes the connection, after each piece was sent by itself. It may close before
    everything was sent."""
    with connect(server) as connection:
        with suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
            if end:
                connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    said = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            said += piece
    return said


def replies(said: bytes) -> list[Reply]:
    """The answers in what a server said, each as long as it says it is. Fails on anything else between or behind them."""
    found = []
    while said:
        head, end, rest = said.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert end, said[:200]
        matched = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z ]+", first)
        assert matched, said[:200]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
        length = 0 if matched[1] == "100" else int(headers["content-length"])
        assert len(rest) >= length, said[:200]
        found.append(Reply(int(matched[1]), headers, rest[:length]))
        said = rest[length:]
    return found


def next_reply(connection: socket.socket) -> Reply:
    """The next answer on a connection on which one request at a time is sent."""
    said = b""
    while True:
        piece = connection.recv(65536)
        assert piece, f"closed behind {said[:200]!r}"
        said += piece
        head, end, body = said.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if end and (length is None or len(body) >= int(length[1])):
            (reply,) = replies(said)
            return reply


def ask(server: FaultServer, *pieces: bytes) -> Reply:
    """The only answer to these pieces of one request."""
    (reply,) = replies(exchange(server, *pieces))
    return reply


def statuses(said: bytes) -> list[int]:
    return [reply.status for reply in replies(said)]


def spin(rounds: int) -> bytes:
    """A question to `spin` that is answered after so many rounds, of which it does some millions a second."""
    return json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [rounds]}]}).encode()


def number_of(server: FaultServer, name: str, **labels: str) -> float:
    """The sum of a metric's values with these labels."""
    total = 0.0
    for line in server.client.get("/metrics").text.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and all(f'{label}="{value}"' in (found[1] or "") for label, value in labels.items()):
            total += float(found[2])
    return total


def p99_s(server: FaultServer, num_calls: int = 200) -> float:
    """How long 99 of 100 calls of /livez take at the most, on a connection of their own."""
    took_s = []
    with connect(server) as connection:
        for _ in range(num_calls):
            begun_s = time.perf_counter()
            connection.sendall(b"GET /livez HTTP/1.1\r\nhost: door\r\n\r\n")
            assert next_reply(connection).status == 200
            took_s.append(time.perf_counter() - begun_s)
    return statistics.quantiles(took_s, n=100)[98]


class Growth:
    """The most by which the server's memory grew, looked at every few milliseconds while it is open."""

    def __init__(self, server: FaultServer) -> None:
        assert server.process is not None
        self._process = psutil.Process(server.process.pid)
        self._done = threading.Event()
        self._begun_bytes = self._peak_bytes = self._process.memory_info().rss
        self._watching = threading.Thread(target=self._watch)

    @property
    def megabytes(self) -> float:
        return (self._peak_bytes - self._begun_bytes) / 1e6

    def __enter__(self) -> Growth:
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watching.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self._peak_bytes = max(self._peak_bytes, self._process.memory_info().rss)


class Turns:
    """A connection on which a question is answered at once: the server has then read what was sent elsewhere before."""

    def __init__(self, server: FaultServer) -> None:
        self._connection = connect(server)

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def wait(self) -> None:
        self._connection.sendall(b"GET /livez HTTP/1.1\r\nhost: door\r\n\r\n")
        assert next_reply(self._connection).status == 200

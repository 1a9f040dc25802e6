"""What is left of a server to which five times as much comes as it can do: answers within the deadline, and quick refusals.

`python -m benchmarks.overload PORT KEY DEPLOYMENT SECONDS` puts that load on a deployment and prints one JSON object. The graph
is one whose rows cost some milliseconds each, so that the engine is the limit and not the load, which is Python on a core of
its own. Requests are due at random moments (a Poisson process with a fixed seed), whether earlier ones were answered or not.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import numpy as np

from benchmarks.serving.process import told_by

ROOT = Path(__file__).parents[1]
FACTOR = 5
DEADLINE_MS = 200
SIDE = 768
"""Of the square matrices of which each row multiplies two."""
NAME = "heavy"
SECONDS = 20.0
NUM_CLOSED = 4
"""Clients that ask again as soon as they are answered, few enough that none is refused: they find what the server can do."""
MAX_CONNECTIONS = 256
DRAIN_S = 5.0
START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Figures:
    """Of one load. Times are milliseconds from sending to the whole answer."""

    peak: float
    """Answers a second, where clients wait for them."""
    offered: float
    goodput: float
    """Answers a second under the load; all of them were admitted, and within the deadline or not."""
    late: float
    """The part of them that came after the deadline."""
    answered_p50_ms: float
    answered_p99_ms: float
    refused_p50_ms: float
    """On a connection of its own, which asks one thing at a time."""
    refused: int
    hopeless: int
    """Refusals that did not say when to come back, and whatever else is neither an answer nor a refusal."""


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.is_free = True
        self._answer: asyncio.Future[tuple[int, bool]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def ask(self, request: bytes) -> tuple[int, bool, float]:
        """Status, whether it says when to come back, and the seconds it took; status 0 where the connection broke."""
        self.is_free, self._says_when = False, False
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        begun_s = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]  # a stream transport, as create_connection makes
        status, says_when = await self._answer
        self.is_free = status != 0
        return status, says_when, time.perf_counter() - begun_s

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._says_when = self._says_when or name.lower() == b"retry-after"

    def on_message_complete(self) -> None:
        self._end(self._parser.get_status_code())

    def connection_lost(self, _reason: Exception | None) -> None:
        self._end(0)

    def _end(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, self._says_when))


class Load:
    """Asks the same question of one deployment."""

    def __init__(self, port: int, key: str, deployment: str) -> None:
        self._port = port
        row = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
        body = json.dumps({"inputs": [row]})
        self._request = (
            f"POST /v2/models/{deployment}/infer HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self._clients: list[Client] = []
        self.answers: list[tuple[int, bool, float]] = []

    async def closed(self, seconds: float) -> float:
        """Answers a second for clients that wait for each."""
        end_s = time.perf_counter() + seconds
        answered = 0

        async def client() -> None:
            nonlocal answered
            connection = await self._connect()
            while time.perf_counter() < end_s:
                status, _, _ = await connection.ask(self._request)
                answered += status == 200

        await asyncio.gather(*(client() for _ in range(NUM_CLOSED)))
        return answered / seconds

    async def open(self, rate: float, seconds: float) -> float:
        """So many requests a second for so long; what is offered in the end, where there are enough connections for it."""
        draw = np.random.default_rng(0)
        moments_s = time.perf_counter() + np.cumsum(draw.exponential(1 / rate, int(rate * seconds)))
        running: set[asyncio.Task[None]] = set()
        begun_s = time.perf_counter()
        for due_s in moments_s.tolist():
            if due_s > (now_s := time.perf_counter()):
                await asyncio.sleep(due_s - now_s)
            if len(running) < MAX_CONNECTIONS:
                task = asyncio.create_task(self._one())
                running.add(task)
                task.add_done_callback(running.discard)
        took_s = time.perf_counter() - begun_s
        if running:
            await asyncio.wait(running, timeout=DRAIN_S)
        return len(moments_s) / took_s

    async def probe(self, done: asyncio.Event) -> list[float]:
        """How long each refusal took on a connection of its own."""
        connection = await self._connect()
        took_s = []
        while not done.is_set():
            status, _, seconds = await connection.ask(self._request)
            if status in (429, 503):
                took_s.append(seconds)
            await asyncio.sleep(0.02)
        return took_s

    async def _one(self) -> None:
        client = next((client for client in self._clients if client.is_free), None)
        if client is None:
            client = await self._connect()
            self._clients.append(client)
        self.answers.append(await client.ask(self._request))

    async def _connect(self) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", self._port)
        client.is_free = False
        return client


async def put_load(port: int, key: str, deployment: str, seconds: float) -> Figures:
    """First as much as the server can do, then FACTOR times as much."""
    load = Load(port, key, deployment)
    await load.closed(seconds / 4)  # it learns what a row costs
    peak = await load.closed(seconds / 2)
    done = asyncio.Event()
    probing = asyncio.create_task(load.probe(done))
    offered = await load.open(peak * FACTOR, seconds)
    done.set()
    refused_s = await probing
    answered_s = [took for status, _, took in load.answers if status == 200]
    refused = [says_when for status, says_when, _ in load.answers if status in (429, 503)]
    p50, p99 = np.percentile(answered_s or [float("nan")], [50, 99]) * 1e3
    return Figures(
        peak=peak,
        offered=offered,
        goodput=len(answered_s) / seconds,
        late=float(np.mean(np.array(answered_s or [0.0]) > DEADLINE_MS / 1e3)),
        answered_p50_ms=float(p50),
        answered_p99_ms=float(p99),
        refused_p50_ms=float(np.median(refused_s or [float("nan")])) * 1e3,
        refused=len(refused),
        hopeless=len(load.answers) - len(answered_s) - sum(refused),
    )


def write_graph(path: Path) -> None:
    """x FP32 (N, 1) → y FP32 (N,): each row multiplies two matrices of its own."""
    from onnx import TensorProto, helper, numpy_helper, save

    draw = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(draw.normal(size=(SIDE, SIDE)).astype(np.float32) / SIDE, name) for name in ("left", "right")
    ]
    constants.append(numpy_helper.from_array(np.array([-1, 1, 1], dtype=np.int64), "cube"))
    nodes = [
        helper.make_node("Reshape", ["x", "cube"], ["x3"]),
        helper.make_node("Mul", ["x3", "left"], ["mine"]),
        helper.make_node("MatMul", ["mine", "right"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["y"], axes=[1, 2], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        constants,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def measure() -> str:
    """A Markdown table of one load."""
    with tempfile.TemporaryDirectory() as folder:
        home, graph = Path(folder) / "home", Path(folder) / f"{NAME}.onnx"
        write_graph(graph)
        with _serving(home) as port:
            told_by(home, "models", "import", str(graph), "--name", NAME)
            told_by(home, "deploy", f"{NAME}@1", "--name", NAME, "--deadline-ms", str(DEADLINE_MS))
            figures = run_load(port, told_by(home, "keys", "create")["key"], NAME, SECONDS)
    rows = [
        ("requests a second that the server can do", f"{figures.peak:.0f}", ""),
        ("requests a second that came", f"{figures.offered:.0f}", f"{FACTOR} times as many"),
        ("answers a second then", f"{figures.goodput:.0f}", f"{figures.goodput / figures.peak:.0%}, aim 85 %"),
        (f"answers later than {DEADLINE_MS} ms", f"{figures.late:.1%}", ""),
        ("an answer, median and p99", f"{figures.answered_p50_ms:.0f} and {figures.answered_p99_ms:.0f} ms", ""),
        ("a refusal, median", f"{figures.refused_p50_ms:.1f} ms", "aim 10 ms"),
        ("neither answered nor told when to come back", str(figures.hopeless), "aim 0"),
    ]
    return "\n".join(["| what | measured | |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def run_load(port: int, key: str, deployment: str, seconds: float) -> Figures:
    """The same from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.overload", str(port), key, deployment, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=3 * seconds + 60, check=False)
    if done.returncode:
        raise RuntimeError(f"the load ended with {done.returncode}: {done.stderr[-500:]}")
    return Figures(**json.loads(done.stdout))


@contextmanager
def _serving(home: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "modeltap", "up", "--home", str(home), "--port", "0", "--grpc-port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        record, give_up_s = home / "server.json", time.monotonic() + START_LIMIT_S
        while not record.exists():
            if server.poll() is not None or time.monotonic() > give_up_s:
                raise RuntimeError("the server did not start")
            time.sleep(0.05)
        yield urlsplit(json.loads(record.read_text())["url"]).port or 80
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def main() -> None:
    port, key, deployment, seconds = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(put_load(int(port), key, deployment, float(seconds))))))


if __name__ == "__main__":
    main()

"""Load at a given rate: `python -m benchmarks.serving.open_loop PORT REQUEST_FILE RATE SECONDS` prints one JSON object.

Requests are due at random moments (a Poisson process with a fixed seed), whether earlier ones were answered or not, and an
answer's time counts from the moment when it was due. wrk cannot do that: it waits for answers before it asks again.

Its limits: it is Python on one core, which it keeps busy so as not to be late, good for about 15,000 requests a second; how
late it sent what was due is told as `late_p99_us`, and where that is of the size of the latencies, the figures are its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import httptools
import numpy as np

from benchmarks.serving.process import LOAD_CORE, ROOT, pinned
from benchmarks.serving.wire import Form

MAX_CONNECTIONS = 128
SETTLE_S = 0.5
"""Before it counts: connections are opened in that time."""
DRAIN_S = 5.0
"""What is not answered so long after the end is an error."""


@dataclass(frozen=True)
class OpenLoad:
    """What was asked for, what came back, and how late it came."""

    offered: float
    answered: float
    p50_us: float
    p99_us: float
    p999_us: float
    late_p99_us: float
    errors: int


def run_open_loop(form: Form, port: int, *, rate: float, seconds: int, scratch: Path) -> OpenLoad:
    """One stretch, in a process on the core of the load."""
    request = scratch / "request.bin"
    request.write_bytes(form.request(port))
    command = [sys.executable, "-m", "benchmarks.serving.open_loop", str(port), str(request), str(rate), str(seconds)]
    limit_s = seconds + SETTLE_S + DRAIN_S + 30
    done = subprocess.run(pinned(command, LOAD_CORE), capture_output=True, text=True, cwd=ROOT, timeout=limit_s, check=False)
    if done.returncode:
        raise RuntimeError(f"the open loop ended with {done.returncode}: {done.stderr[-300:]}")
    return OpenLoad(**json.loads(done.stdout))


class Generator:
    """Sends what is due over connections that are free, opens another where none is, and waits where there are too many."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._idle: list[_Connection] = []
        self._due_s: deque[float] = deque()
        self._num_open = 0
        self._opening: set[asyncio.Task[None]] = set()
        self.asked = 0
        self.answers: list[tuple[float, float, int]] = []
        """(due, answered, status) of each; the status is 0 where the connection broke."""
        self.late_s: list[float] = []

    async def run(self, rate: float, seconds: float) -> tuple[float, float]:
        """The moments between which requests were due and count."""
        draw = np.random.default_rng(0)
        started_s = time.perf_counter() + 0.05
        counted_s, end_s = started_s + SETTLE_S, started_s + SETTLE_S + seconds
        gaps_s = draw.exponential(1 / rate, int((end_s - started_s) * rate * 1.2) + 1000)
        moments_s = started_s + np.cumsum(gaps_s)
        for due_s in moments_s[moments_s < end_s].tolist():
            while (now_s := time.perf_counter()) < due_s:
                await asyncio.sleep(0)
            self.asked += due_s >= counted_s
            self.late_s.append(now_s - due_s)
            self._due_s.append(due_s)
            self._send_waiting()
        while (self._due_s or len(self._idle) < self._num_open) and time.perf_counter() < end_s + DRAIN_S:
            await asyncio.sleep(0)
        return counted_s, end_s

    def answered(self, connection: _Connection, due_s: float, status: int) -> None:
        self.answers.append((due_s, time.perf_counter(), status))
        if connection.usable:
            self._idle.append(connection)
            self._send_waiting()

    def lost(self, connection: _Connection) -> None:
        self._num_open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._due_s and self._idle:
            self._idle.pop().ask(self._request, self._due_s.popleft())
        while self._due_s and self._num_open < MAX_CONNECTIONS:
            self._num_open += 1
            task = asyncio.get_running_loop().create_task(self._open(self._due_s.popleft()))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, due_s: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:
            self._num_open -= 1
            self.answers.append((due_s, time.perf_counter(), 0))
        else:
            connection.ask(self._request, due_s)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, owner: Generator) -> None:
        self._owner = owner
        self._due_s: float | None = None
        self.usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self, request: bytes, due_s: float) -> None:
        self._due_s = due_s
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)  # type: ignore[attr-defined]  # a stream transport, as create_connection makes

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._due_s is None:
            return
        due_s, self._due_s = self._due_s, None
        self.usable = self._parser.should_keep_alive()
        self._owner.answered(self, due_s, self._parser.get_status_code())
        if not self.usable:
            self._transport.close()

    def connection_lost(self, _reason: Exception | None) -> None:
        self.usable = False
        if self._due_s is not None:
            self._owner.answered(self, self._due_s, 0)
        self._owner.lost(self)


def main() -> None:
    import uvloop

    port, request, rate, seconds = int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), float(sys.argv[3]), float(sys.argv[4])

    async def load() -> OpenLoad:
        generator = Generator(port, request)
        from_s, until_s = await generator.run(rate, seconds)
        counted = [(answered - due, status) for due, answered, status in generator.answers if due >= from_s]
        took_s = [took for took, status in counted if status == 200] or [float("nan")]
        p50, p99, p999 = np.percentile(took_s, [50, 99, 99.9]) * 1e6
        good = sum(status == 200 for _, status in counted)
        return OpenLoad(
            offered=generator.asked / (until_s - from_s),
            answered=sum(status == 200 and from_s <= due and at <= until_s for due, at, status in generator.answers)
            / (until_s - from_s),
            p50_us=float(p50),
            p99_us=float(p99),
            p999_us=float(p999),
            late_p99_us=float(np.percentile(generator.late_s, 99) * 1e6),
            errors=generator.asked - good,
        )

    import dataclasses

    print(json.dumps(dataclasses.asdict(uvloop.run(load()))))


if __name__ == "__main__":
    main()

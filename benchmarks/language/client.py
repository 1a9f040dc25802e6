"""`python -m benchmarks.language.client PORT KEY MODEL PROMPTS STREAMS SECONDS`: so many streams of /v1/completions at a time.

Each connection asks again as soon as its answer is whole. Bare connections and no JSON but the usage, so that the client takes
little of the processor, which it shares with the server. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.language.shape import ANSWER_TOKENS, percentile_ms

LINE, DATA, LAST_CHUNK, BLANK = b"\n", b"data: ", b"0\r", b"\r"


class Seen:
    """What all connections have seen together, and what they ask next."""

    def __init__(self, key: str, model: str, prompts: list[tuple[str, list[int]]]) -> None:
        self._key, self._model, self._prompts = key, model, prompts
        self._number = 0
        self.num_tokens = 0
        self.num_pieces = 0
        """Of answers that are not whole yet; a piece is a token."""
        self.first_s: list[float] = []
        self.gaps_s: list[float] = []

    def next_request(self) -> bytes:
        body = json.dumps(
            {
                "model": self._model,
                "prompt": self._prompts[self._number % len(self._prompts)][0],
                "max_tokens": ANSWER_TOKENS,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        self._number += 1
        head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        head += f"authorization: Bearer {self._key}\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One request after the other. `over` is done once the connection is, with an error if that was in an answer."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.WriteTransport
        self._rest = self._status = b""
        self._usage: bytes | None = None
        self._is_last = self._is_closing = False
        self._num_pieces = 0
        self._last_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self.over.done():
            return
        now_s = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(LINE)
        for line in lines:
            if line.startswith(DATA):
                if b'"usage":{' in line:
                    self._usage = line
                if b'"choices":[{' in line:
                    self._piece(now_s)
            elif self._is_last and line == BLANK:
                self._answered()
            elif line == LAST_CHUNK:
                self._is_last = True
            elif not self._status:
                self._status = line
                if b" 200 " not in line:
                    self.over.set_exception(ConnectionError(f"the server said {data.decode(errors='replace')}"))
                    return
            elif line.lower().startswith(b"connection: close"):
                self._is_closing = True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.over.done():
            return
        if self._status:
            self.over.set_exception(ConnectionError("the server closed the connection within an answer"))
        else:
            self.over.set_result(None)

    def _ask(self) -> None:
        request = self._seen.next_request()
        self._rest, self._status, self._usage = b"", b"", None
        self._is_last = self._is_closing = False
        self._num_pieces = 0
        self._last_s = time.perf_counter()
        self._transport.write(request)

    def _piece(self, now_s: float) -> None:
        (self._seen.gaps_s if self._num_pieces else self._seen.first_s).append(now_s - self._last_s)
        self._last_s = now_s
        self._num_pieces += 1
        self._seen.num_pieces += 1

    def _answered(self) -> None:
        seen = self._seen
        seen.num_pieces -= self._num_pieces
        seen.num_tokens += (
            self._num_pieces if self._usage is None else json.loads(self._usage[len(DATA) :])["usage"]["completion_tokens"]
        )
        if self._is_closing:
            self.over.set_result(None)
        else:
            self._ask()


async def run(port: int, seen: Seen, end_s: float) -> None:
    """One connection after the other, until then."""
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(end_s - time.perf_counter()):
            while True:
                transport, connection = await loop.create_connection(lambda: Connection(seen), "127.0.0.1", port)
                try:
                    await connection.over
                finally:
                    transport.close()


async def measure(port: int, seen: Seen, num_streams: int, seconds: float) -> float:
    """Seconds that it took."""
    started_s = time.perf_counter()
    await asyncio.gather(*(run(port, seen, started_s + seconds) for _ in range(num_streams)))
    return time.perf_counter() - started_s


def main() -> None:
    port, key, model, prompts = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(Path(sys.argv[4]).read_text())
    num_streams, seconds = int(sys.argv[5]), float(sys.argv[6])
    seen = Seen(key, model, prompts)
    before = resource.getrusage(resource.RUSAGE_SELF)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took_s = runner.run(measure(port, seen, num_streams, seconds))
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    num_tokens = seen.num_tokens + seen.num_pieces
    print(
        json.dumps(
            {
                "rate": num_tokens / took_s,
                "first_ms": percentile_ms(seen.first_s, 50),
                "gap_ms": percentile_ms(seen.gaps_s, 99),
                "client_s": 1e3 * spent_s / max(1, num_tokens),
            }
        )
    )


if __name__ == "__main__":
    main()

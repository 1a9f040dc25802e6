"""`python -m benchmarks.language.client PORT KEY MODEL PROMPTS STREAMS SECONDS`: so many streams of /v1/completions at a time.

Each connection asks again as soon as its answer is whole. Plain sockets and no JSON but the usage, so that the client takes
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

from benchmarks.language.shape import ANSWER_TOKENS, percentile_ms

LONGEST_S = 60.0


class Streams:
    """What all connections have seen together."""

    def __init__(self, port: int, key: str, model: str, prompts: list[tuple[str, list[int]]]) -> None:
        self._port, self._key, self._model, self._prompts = port, key, model, prompts
        self._number = 0
        self.num_tokens = 0
        self.num_pieces = 0
        """Of answers that are not whole yet; a piece is a token."""
        self.errors = 0
        self.first_s: list[float] = []
        self.gaps_s: list[float] = []

    async def run(self, end_s: float) -> None:
        """One connection, until then."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + end_s - time.perf_counter()):
                while True:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    try:
                        while await self._ask(reader, writer):
                            pass
                    finally:
                        writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
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
        last_s = time.perf_counter()
        is_first, pieces = True, 0
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status = await reader.readline()
        if b" 200 " not in status:
            self.errors += 1
            raise ConnectionError(f"the server said {status.decode()}: {(await reader.read(2000)).decode(errors='replace')}")
        head_lines = await reader.readuntil(b"\r\n\r\n")
        usage: bytes | None = None
        while True:
            line = await reader.readline()
            if not line.startswith(b"data: "):
                if not line:
                    raise ConnectionError("the server closed the connection")
                if line == b"0\r\n":  # of the chunked body: its end
                    await reader.readline()
                    break
                continue
            if b'"usage":{' in line:
                usage = line
            if b'"choices":[{' not in line:
                continue
            now_s = time.perf_counter()
            (self.first_s if is_first else self.gaps_s).append(now_s - last_s)
            last_s, is_first, pieces = now_s, False, pieces + 1
            self.num_pieces += 1
        self.num_pieces -= pieces
        told = json.loads(usage[6:])["usage"]["completion_tokens"] if usage is not None else pieces
        self.num_tokens += told
        return b"connection: close" not in head_lines.lower()


async def measure(streams: Streams, num_streams: int, seconds: float) -> float:
    started_s = time.perf_counter()
    running = [asyncio.create_task(streams.run(started_s + seconds)) for _ in range(num_streams)]
    await asyncio.gather(*running)
    return time.perf_counter() - started_s


def main() -> None:
    port, key, model, prompts = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(Path(sys.argv[4]).read_text())
    num_streams, seconds = int(sys.argv[5]), float(sys.argv[6])
    streams = Streams(port, key, model, prompts)
    before = resource.getrusage(resource.RUSAGE_SELF)
    took_s = asyncio.run(measure(streams, num_streams, seconds))
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    num_tokens = streams.num_tokens + streams.num_pieces
    print(
        json.dumps(
            {
                "rate": num_tokens / took_s,
                "first_ms": percentile_ms(streams.first_s, 50),
                "gap_ms": percentile_ms(streams.gaps_s, 99),
                "client_s": 1e3 * spent_s / max(1, num_tokens),
                "errors": streams.errors,
            }
        )
    )


if __name__ == "__main__":
    main()

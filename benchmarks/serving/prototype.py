"""The yardstick: a bare ASGI server of the reference CNN, as fast as uvicorn lets it be, with no feature at all.

No key, no limits, no meter, no checks of what arrives: Open Inference JSON or binary in, micro-batches of what arrived in one
turn of the event loop, the graph on the loop itself, Open Inference JSON or binary out. `prototype.py GRAPH PORT`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import simdjson
import uvicorn

from benchmarks.serving.graph import INPUT, OUTPUT, SHAPE, Floats, open_session

MAX_BATCH = 32
GC_THRESHOLDS = (50_000, 50, 50)
"""Nothing here makes cycles, so that they are looked for seldom."""
HEADER_LENGTH = b"inference-header-content-length"
JSON_HEAD = b'{"model_name":"cnn","model_version":"1","outputs":[{"name":"y_pred","shape":[1,10],"datatype":"FP32","data":'
JSON_TAIL = b"}]}"
BINARY_HEAD = (
    b'{"model_name":"cnn","model_version":"1","outputs":[{"name":"y_pred","shape":[1,10],"datatype":"FP32",'
    b'"parameters":{"binary_data_size":40}}]}'
)
START_JSON = [(b"content-type", b"application/json")]
START_BINARY = [
    (b"content-type", b"application/octet-stream"),
    (HEADER_LENGTH, str(len(BINARY_HEAD)).encode()),
    (b"content-length", str(len(BINARY_HEAD) + 40).encode()),
]


class Prototype:
    """The ASGI application."""

    def __init__(self, graph: Path) -> None:
        self._run = open_session(graph).run
        self._rows_NHWC: Floats = np.empty((MAX_BATCH, *SHAPE), np.float32)
        self._flat_NP = self._rows_NHWC.reshape(MAX_BATCH, -1)
        self._waiting: list[tuple[Floats, asyncio.Future[Floats]]] = []
        self._parse: Callable[[bytes], Any] = simdjson.Parser().parse
        self._encode = msgspec.json.Encoder().encode
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        message = await receive()
        body: bytes = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        length = next((value for name, value in scope["headers"] if name == HEADER_LENGTH), None)
        if length is None:
            values_P = np.frombuffer(self._parse(body)["inputs"][0]["data"].as_buffer(of_type="d"), np.float64)
            prob_C = await self._answer(values_P)
            text = JSON_HEAD + self._encode(prob_C.tolist()) + JSON_TAIL
            headers = [*START_JSON, (b"content-length", b"%d" % len(text))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": text})
        else:
            msgspec.json.decode(memoryview(body)[: int(length)])
            prob_C = await self._answer(np.frombuffer(body, np.float32, offset=int(length)))
            await send({"type": "http.response.start", "status": 200, "headers": START_BINARY})
            await send({"type": "http.response.body", "body": BINARY_HEAD + prob_C.tobytes()})

    def _answer(self, values_P: Any) -> asyncio.Future[Floats]:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Floats] = self._loop.create_future()
        waiting = self._waiting
        waiting.append((values_P, future))
        if len(waiting) == 1:
            self._loop.call_soon(self._flush)
        elif len(waiting) == MAX_BATCH:
            self._flush()
        return future

    def _flush(self) -> None:
        waiting = self._waiting
        if not waiting:
            return
        self._waiting = []
        for row, (values_P, _) in zip(self._flat_NP, waiting, strict=False):
            row[:] = values_P
        prob_NC = self._run([OUTPUT], {INPUT: self._rows_NHWC[: len(waiting)]})[0]
        for prob_C, (_, future) in zip(prob_NC, waiting, strict=True):
            if not future.done():
                future.set_result(prob_C)


def main() -> None:
    application = Prototype(Path(sys.argv[1]))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )


if __name__ == "__main__":
    main()

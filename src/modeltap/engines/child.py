"""One engine in a process of its own: `python -P -m modeltap.engines.child FD PARENT`, started by `engines/process.py`.

It is told a bundle's files, loads them, replays the golden rows, and then answers one batch after the other until the other
end of its socket is closed.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from modeltap.bundle.files import open_bundle
from modeltap.domain.engine import Engine
from modeltap.engines.child_process import begin_child
from modeltap.engines.select import open_engine, warm
from modeltap.engines.wire import (
    Answered,
    Buffer,
    Failed,
    FrameReader,
    FromChild,
    Loaded,
    Open,
    Ready,
    Run,
    ToChild,
    pack_frame,
    pack_tensors,
    unpack_tensors,
)
from modeltap.errors import Broken, ModeltapError

JOIN_BYTES = 64 << 10
"""Frames up to this size are sent with one call."""

_log = logging.getLogger("modeltap.engines.child")


def main() -> None:
    """Until the parent closes the socket, or is gone."""
    with begin_child("engine process") as link, suppress(BrokenPipeError, ConnectionResetError):
        _serve(link)


def _serve(link: socket.socket) -> None:
    asked = _asked(link)
    first = next(asked, None)
    if first is None:
        return
    assert isinstance(first[0], Open), "the first frame names the bundle"
    try:
        bundle = open_bundle({name: Path(path) for name, path in first[0].files.items()})
        engine = open_engine(bundle)
        _send(link, Loaded())
        warm(engine, bundle)
    except ModeltapError as problem:
        _send(link, Failed(problem.code, problem.message))
        return
    del bundle
    _send(link, Ready())
    for head, data in asked:
        assert isinstance(head, Run), "every later frame is a batch"
        _answer(link, engine, head, data)


def _answer(link: socket.socket, engine: Engine, head: Run, data: memoryview) -> None:
    started_s = time.perf_counter()
    try:
        outputs = engine.run(unpack_tensors(head.tensors, data))
        run_s = time.perf_counter() - started_s
        heads, parts = pack_tensors(outputs)
    except ModeltapError as problem:
        _send(link, Failed(problem.code, problem.message, time.perf_counter() - started_s))
    except Exception:  # noqa: BLE001  the edge of this process: what fails is one batch
        _log.exception("the graph failed")
        _send(link, Failed(Broken.code, "the graph failed; the server's log has the reason", time.perf_counter() - started_s))
    else:
        _send(link, Answered(heads, run_s), parts)


def _asked(link: socket.socket) -> Iterator[tuple[ToChild, memoryview]]:
    """What the parent says, until it says no more."""
    reader = FrameReader()
    decoder = msgspec.msgpack.Decoder(ToChild)
    while num_bytes := link.recv_into(reader.buffer()):
        for head, data in reader.received(num_bytes):
            yield decoder.decode(head), data


def _send(link: socket.socket, head: FromChild, parts: list[Buffer] | None = None) -> None:
    frame = pack_frame(head, parts or ())
    if sum(map(len, frame)) <= JOIN_BYTES:
        link.sendall(b"".join(frame))
        return
    for part in frame:
        link.sendall(part)


if __name__ == "__main__":
    main()

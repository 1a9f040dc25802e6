"""Messages between the parent and one worker, over a Unix socket pair: frames of msgpack, each of a known type.

A message is a struct with a tag; what needs an answer carries a number that the answer repeats.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from modeltap.domain.quota_lease import Ask, GiveBack, Grant, Recall, Refusal
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.errors import Unavailable

_HEAD = struct.Struct("<I")
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
ANSWER_S = 60.0
"""Longest wait for the other side; beyond it the caller is told that it is unavailable."""
ENDING = "the server is about to end; try again"


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Parent → worker, first: everything it needs to serve."""

    settings: dict[str, Any]
    sources: dict[str, str]
    number: int
    port: int
    grpc_port: int
    wall_offset_s: float
    """Wall clock minus monotonic clock, the same for all workers, so that their records share one time."""
    started_at: str
    snapshot: DeploymentSnapshot


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Worker → parent, before it opens a port: from now on it takes part in every change. Answered by Done, and before that by
    what is to be served now. `writer` names its usage segments."""

    id: int
    writer: str


class Serving(msgspec.Struct, frozen=True, tag="serving"):
    """Worker → parent: the ports are open."""


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """Parent → worker: serve this from now on; answered by Done when it is served."""

    id: int
    snapshot: DeploymentSnapshot


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """Worker → parent: the database has new deployments, keys or tenants; answered by Done when every worker serves them."""

    id: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    id: int
    content: bytes = b""


class WakeJobs(msgspec.Struct, frozen=True, tag="wake"):
    """Worker → parent: a job was queued."""


class Metrics(msgspec.Struct, frozen=True, tag="metrics"):
    """Worker → parent: the numbers of every worker, answered by Done; parent → worker: yours, answered by Done."""

    id: int


class Leases(msgspec.Struct, frozen=True, tag="leases"):
    """Either way: what the sides of the quota's lease protocol tell each other."""

    messages: list[Ask | GiveBack | Grant | Refusal | Recall]


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Parent → worker: answer what was begun, then end."""


Message = Begin | Ready | Serving | Publish | Changed | Done | WakeJobs | Metrics | Leases | Stop
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class Link:
    """One end. `heard` is called on the loop with every message that is no answer; `lost` once, when the other side is gone."""

    def __init__(self, heard: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_over = False

    async def open(self, end: socket.socket) -> None:
        """From now on messages come and go."""
        reader, self._writer = await asyncio.open_unix_connection(sock=end, limit=1 << 20)
        self._reading = asyncio.create_task(self._read(reader))

    def tell(self, message: Message) -> None:
        """Sends it; nothing happens once the other side is gone."""
        if self._writer is None or self._writer.is_closing():
            return
        content = _encoder.encode(message)
        self._writer.write(_HEAD.pack(len(content)) + content)

    async def ask(self, make: Callable[[int], Message]) -> bytes:
        """Sends the message that `make` makes of a number, and returns what the answer carries. Raises Unavailable."""
        if self._is_over:
            raise Unavailable(ENDING)
        number = next(self._numbers)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self.tell(make(number))
        try:
            return await asyncio.wait_for(waiting, ANSWER_S)
        except TimeoutError:
            raise Unavailable("the server's processes do not answer each other; try again") from None
        finally:
            self._waiting.pop(number, None)

    def answer_with(self, number: int, work: Awaitable[bytes | None]) -> None:
        """Sends Done for `number` with what `work` gives, when it is done."""

        async def run() -> None:
            self.tell(Done(number, await work or b""))

        task = asyncio.get_running_loop().create_task(run())
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def close(self) -> None:
        self._is_over = True
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = _HEAD.unpack(await reader.readexactly(_HEAD.size))
                if size > MAX_MESSAGE_BYTES:
                    break
                message = _decoder.decode(await reader.readexactly(size))
                if isinstance(message, Done):
                    waiting = self._waiting.get(message.id)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message.content)
                else:
                    self._heard(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        self._is_over = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Unavailable(ENDING))
        self._lost()


_running: set[asyncio.Task[None]] = set()

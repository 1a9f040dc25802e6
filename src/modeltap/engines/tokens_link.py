"""One child process at the other end of a socket, messages to it and from it; whoever opens it says what they mean.

Everything is called on the event loop, and nothing here blocks it but the start of the process itself, some milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from modeltap.engines.child_process import CLOSE_S, end_of, start_child, told_status
from modeltap.engines.tokens_wire import Frames, ToEngine, ToTrial, WireBroken, pack

Heard = TypeVar("Heard")

_log = logging.getLogger(__name__)


class ChildLink(asyncio.Protocol, Generic[Heard]):
    """`on_end` is called once, with what happened, if the process ends or is ended before `close`."""

    def __init__(
        self,
        name: str,
        decoder: msgspec.msgpack.Decoder[Heard],
        *,
        on_heard: Callable[[Heard], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.name = name
        self._decoder = decoder
        self._on_heard = on_heard
        self._on_end = on_end
        self._frames = Frames()
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._reaping: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes]

    async def connect(self, module: str) -> None:
        """Starts `python -m module FD PARENT`. Raises Broken."""
        self._process, self._transport = await start_child(module, self, name=self.name)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_open(self) -> bool:
        return self._reaping is None

    @property
    def memory_bytes(self) -> int:
        """What the process holds in memory now; 0 if it has ended."""
        import psutil

        try:
            return int(psutil.Process(self.pid).memory_info().rss) if self.is_open and self._transport is not None else 0
        except psutil.Error:
            return 0

    def send(self, message: ToEngine | ToTrial) -> None:
        if self.is_open and self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(message))

    def kill(self, what: str) -> None:
        """Ends the process at once."""
        self._end(what, wait_s=0.0)

    async def close(self) -> int:
        """Ends the process, unless it has ended or was never started; its exit status once it is gone."""
        if self._transport is None:
            return 0
        self._end(None, wait_s=CLOSE_S)
        return await asyncio.shield(self._gone)

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        try:
            heard = [self._decoder.decode(body) for body in self._frames.received(data)]
        except (WireBroken, msgspec.MsgspecError) as problem:
            self.kill(f"said what cannot be: {problem}")
            return
        for message in heard:
            if not self.is_open:
                return
            self._on_heard(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("ended", wait_s=CLOSE_S)

    def _end(self, what: str | None, *, wait_s: float) -> None:
        if not self.is_open or self._transport is None:
            return
        self._transport.abort()
        self._reaping = self._loop.create_task(self._reap(wait_s))
        if what is not None:
            _log.warning("process %d of %s %s", self.pid, self.name, what)
            self._on_end(what)

    async def _reap(self, wait_s: float) -> None:
        status = await asyncio.to_thread(end_of, self._process, wait_s)
        if status:
            _log.warning("process %d of %s: %s", self.pid, self.name, told_status(status))
        self._gone.set_result(status)

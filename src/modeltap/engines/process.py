"""The server's side of an engine process: starts `engines/child.py`, gives it one batch at a time, and notices its end.

Everything is called on the event loop, and nothing here blocks it but the start of the process itself, some milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from modeltap.domain.replica import ENDED, ReplicaEvent, ReplicaState, next_state
from modeltap.domain.signature import Batch
from modeltap.engines.child_process import CLOSE_S, end_of, start_child, told_status
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
    WireBroken,
    pack_frame,
    pack_tensors,
    unpack_tensors,
)
from modeltap.errors import Broken, GoldenMismatch, InvalidValue, ModeltapError, ReplicaLost

START_S = 120.0
"""Of loading a graph and replaying its golden rows; a process that takes longer is ended."""
RUN_S = 30.0
JOIN_BYTES = 64 << 10
PIECE_BYTES = 256 << 10
"""Small frames are sent with one call, large ones in pieces of this size while the socket takes them."""
LONGEST_MESSAGE = 2000

Done = Callable[["Batch | BaseException", float], None]

_ERRORS: dict[str, type[ModeltapError]] = {error.code: error for error in (InvalidValue, GoldenMismatch, Broken)}
_FROM_CHILD = msgspec.msgpack.Decoder(FromChild)
_log = logging.getLogger(__name__)


class ProcessReplica(asyncio.BufferedProtocol):
    """A warm engine in a process of its own. `start` makes one; `on_end` is called once if it ends without being closed."""

    def __init__(self, name: str, *, run_timeout_s: float, on_end: Callable[[ProcessReplica], None]) -> None:
        self.name = name
        self.state: ReplicaState = "starting"
        self.run_timeout_s = run_timeout_s
        """A batch that takes longer has a hung engine, which is killed."""
        self.ready_at_s: float | None = None
        """Monotonic; None before that."""
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[ModeltapError | None] = self._loop.create_future()
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._reader = FrameReader()
        self._done: Done | None = None
        self._started_s = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._pieces: Iterator[Buffer] = iter(())
        self._is_paused = False
        self._reaping: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._process: subprocess.Popen[bytes]

    @classmethod
    async def start(
        cls,
        name: str,
        files: Mapping[str, Path],
        *,
        run_timeout_s: float = RUN_S,
        start_timeout_s: float = START_S,
        on_end: Callable[[ProcessReplica], None] = lambda _: None,
    ) -> ProcessReplica:
        """A replica that repeated its golden rows. Raises GoldenMismatch or Broken; then there is no process."""
        replica = cls(name, run_timeout_s=run_timeout_s, on_end=on_end)
        replica._process, replica._transport = await start_child("modeltap.engines.child", replica, name=name)
        is_ready, status = False, 0
        try:
            async with asyncio.timeout(start_timeout_s):
                replica._send(Open({file: str(path) for file, path in files.items()}))
                problem = await replica._begun
            is_ready = problem is None
        except TimeoutError:
            raise Broken(f"the engine process of {name} was not ready within {start_timeout_s:g} s") from None
        finally:
            if not is_ready:
                status = await replica._give_up()
        if problem is None:
            return replica
        if isinstance(problem, ReplicaLost):
            raise Broken(
                f"the engine process of {name} ended while it was started ({told_status(status)}); the server's log has the"
                " reason"
            )
        raise problem

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def memory_bytes(self) -> int:
        """What the process holds in memory now; 0 if it has ended."""
        import psutil

        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def run(self, inputs: Batch, done: Done, *, expected_s: float = 0.0) -> None:
        """Starts the run; `done` gets the outputs, the graph's failure, or ReplicaLost."""
        if self.state != "ready":
            done(ReplicaLost(f"the engine process of {self.name} has ended; try again"), 0.0)
            return
        assert self._done is None, "one run at a time"
        try:
            heads, parts = pack_tensors(inputs)
        except ValueError as problem:
            done(InvalidValue(f"a value cannot be given to the engine: {problem}"), 0.0)
            return
        self._done = done
        self._idle.clear()
        self._started_s = time.monotonic()
        if self._watch is None:
            self._watch = self._loop.call_later(self.run_timeout_s, self._look)
        self._send(Run(heads), parts)

    async def close(self) -> None:
        """Waits for the batch that runs, then ends the process; comes back when it is gone."""
        if self.state not in ENDED:
            if self.state != "draining":
                self._advance("drain")
            await self._idle.wait()
            if not self._transport.is_closing():
                self._transport.close()
        await asyncio.shield(self._gone)

    def kill(self) -> None:
        """Ends the process at once; what it ran is lost."""
        self._lose("was ended")

    async def _give_up(self) -> int:
        """Its exit status, once there is no process any more."""
        self._lose("did not start")
        return await asyncio.shield(self._gone)

    # What the event loop calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            heard = [(_FROM_CHILD.decode(head), data) for head, data in self._reader.received(nbytes)]
        except (WireBroken, msgspec.MsgspecError) as problem:
            self._lose(f"said what cannot be: {problem}")
            return
        for head, data in heard:
            self._hear(head, data)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._send_more()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.state == "draining" and self._done is None:
            self._finish("stop", wait_s=CLOSE_S)
        else:
            self._lose("ended", wait_s=CLOSE_S)

    def _hear(self, head: FromChild, data: memoryview) -> None:
        match head:
            case Loaded() if self.state == "starting":
                self._advance("load")
            case Ready() if self.state == "warming":
                self._advance("warm")
                self.ready_at_s = time.monotonic()
                self._tell(None)
            case Failed(code, message) if self.state in ("starting", "warming"):
                self._tell(_ERRORS.get(code, Broken)(message[:LONGEST_MESSAGE]))
            case Failed(code, message, run_s) if self._done is not None:
                self._answered(_ERRORS.get(code, Broken)(message[:LONGEST_MESSAGE]), run_s)
            case Answered(tensors, run_s) if self._done is not None:
                try:
                    outputs = unpack_tensors(tensors, data)
                except ValueError as problem:
                    self._lose(f"said what cannot be: {problem}")
                else:
                    self._answered(outputs, run_s)
            case _ if self.state not in ENDED:
                self._lose(f"said {type(head).__name__} while it was {self.state}")

    def _answered(self, outcome: Batch | BaseException, run_s: float) -> None:
        done, self._done = self._done, None
        assert done is not None
        self._idle.set()
        waited_s = time.monotonic() - self._started_s
        done(outcome, run_s if 0.0 <= run_s <= waited_s else waited_s)

    def _send(self, head: ToChild, parts: Sequence[Buffer] = ()) -> None:
        frame = pack_frame(head, parts)
        if sum(map(len, frame)) <= JOIN_BYTES:
            self._transport.write(b"".join(frame))
            return
        self._pieces = _pieces(frame)
        self._send_more()

    def _send_more(self) -> None:
        while not self._is_paused and not self._transport.is_closing():
            piece = next(self._pieces, None)
            if piece is None:
                return
            self._transport.write(piece)

    def _look(self) -> None:
        """Whether the batch that runs takes too long. One timer at a time serves all batches."""
        self._watch = None
        if self._done is None:
            return
        left_s = self._started_s + self.run_timeout_s - time.monotonic()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            self._lose(f"did not answer a batch within {self.run_timeout_s:g} s and was ended")

    def _lose(self, what: str, *, wait_s: float = 0.0) -> None:
        """It is of no use any more, whatever the reason: killed, and everyone who waits is told."""
        if self.state in ENDED:
            return
        was_ready = self.state == "ready"
        problem = ReplicaLost(f"the engine process of {self.name} {what}; try again")
        self._finish("fail", wait_s=wait_s)
        self._tell(problem)
        done, self._done = self._done, None
        if done is not None:
            self._idle.set()
            done(problem, 0.0)
        if was_ready:
            _log.warning("the engine process %d of %s %s", self.pid, self.name, what)
            self._on_end(self)

    def _tell(self, problem: ModeltapError | None) -> None:
        """Whoever starts it hears how that went, once."""
        if not self._begun.done():
            self._begun.set_result(problem)

    def _finish(self, event: ReplicaEvent, *, wait_s: float) -> None:
        self._advance(event)
        if self._watch is not None:
            self._watch.cancel()
        self._transport.abort()
        self._reaping = self._loop.create_task(self._reap(wait_s))

    async def _reap(self, wait_s: float) -> None:
        status = await asyncio.to_thread(end_of, self._process, wait_s)
        if status:
            _log.warning("the engine process %d of %s: %s", self.pid, self.name, told_status(status))
        self._gone.set_result(status)

    def _advance(self, event: ReplicaEvent) -> None:
        self.state = next_state(self.state, event)


def _pieces(frame: Sequence[Buffer]) -> Iterator[Buffer]:
    for part in frame:
        view = memoryview(part)
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]

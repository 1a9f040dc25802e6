"""One call's way to a server elsewhere and back: reserved at the worst, forwarded, counted, ended as its caller is.

forwarded = Forwarded(plane, call, version, "/chat/completions", body)
answer = await forwarded.whole()                    the door settles it
async for chunk in forwarded.chunks(): …            then `await forwarded.settle()`, before the last byte
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from modeltap.domain.quota import Reservation
from modeltap.errors import LimitReached, Unavailable
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.submission import ClientGone
from modeltap.serving.text_deadline import check_time, deadline_of, late
from modeltap.serving.upstream import UpstreamVersion
from modeltap.serving.upstream_count import ESTIMATED, Count, most_tokens

T = TypeVar("T")
GONE = "the client closed the connection"
_log = logging.getLogger(__name__)


class Forwarded:
    """Used once, by one task. `body` is what is sent, but for the model's name and what a stream needs."""

    def __init__(self, plane: Plane, call: Call, version: UpstreamVersion, path: str, body: Mapping[str, Any]) -> None:
        self._plane = plane
        self._call = call
        self._version = version
        self._path = path
        self._body = {**body, "model": version.model}
        self.count = Count(body, reserved=most_tokens(body, version.language.context_tokens))
        self._task: asyncio.Task[Any] | None = None
        self._ended: Unavailable | None = None
        """Why nothing more is wanted: the caller has left, or its time is over."""
        self._is_waiting = False
        self._first_s = 0.0

    async def whole(self) -> dict[str, Any]:
        """The answer. Raises what `UpstreamClient.ask` raises, RateLimited, BudgetSpent, StorageFailed, ClientGone."""
        version, count = self._version, self.count
        with version.held(), self._present():
            client = version.client()
            await self._accept()
            is_answered = False
            try:
                answer = await self._unless_gone(lambda: client.ask(self._path, {**self._body, "stream": False}))
                count.whole(answer)
                is_answered = True
            finally:
                self._note(is_answered=is_answered)
            return answer

    async def chunks(self) -> AsyncGenerator[dict[str, Any], None]:
        """Each event that comes, with `call.units` as they would be charged if it were the last. Raises as `whole`."""
        version, count, call = self._version, self.count, self._call
        with version.held(), self._present():
            client = version.client()
            await self._accept()
            body = {**self._body, "stream": True, "stream_options": {"include_usage": True}}
            is_answered = False
            try:
                async with aclosing(client.stream(self._path, body)) as events:
                    while (chunk := await self._unless_gone(lambda: anext(events, None))) is not None:
                        if not self._first_s:
                            self._first_s = time.monotonic()
                        call.num_forwarded += count.chunk(chunk)
                        call.units = count.units
                        yield chunk
                is_answered = True
            finally:
                self._note(is_answered=is_answered)

    async def begun(self) -> AsyncGenerator[dict[str, Any], None]:
        """The same chunks, the first of which is there: what fails before it is raised here, and not in the stream."""
        chunks = self.chunks()
        first = await anext(chunks, None)

        async def going_on() -> AsyncGenerator[dict[str, Any], None]:
            async with aclosing(chunks):
                if first is not None:
                    yield first
                async for chunk in chunks:
                    yield chunk

        return going_on()

    async def settle(self) -> None:
        """The record is written, where durability asks for it to the disk: the last event may go. Raises StorageFailed."""
        self._plane.settle(self._call)
        if self._plane.waits_for_disk:
            await self._plane.on_disk()

    @contextmanager
    def _present(self) -> Iterator[None]:
        """Within it, the call ends when its caller leaves or its time is over, whatever it waits for."""
        call, connection = self._call, self._call.connection
        self._task = asyncio.current_task()
        call.cancel = self._gone
        if connection is not None:
            connection.on_lost = self._gone
        timer = self._keep_time()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            call.cancel = None
            if connection is not None:
                connection.on_lost = None

    def _keep_time(self) -> asyncio.TimerHandle | None:
        deadline_s = deadline_of(self._call)
        if deadline_s is None:
            return None
        now_s = time.monotonic()
        check_time(deadline_s, now_s, 0.0)
        return asyncio.get_running_loop().call_later(deadline_s - now_s, self._end, late(self._call, deadline_s))

    def _gone(self) -> None:
        self._end(ClientGone(GONE))

    def _end(self, problem: Unavailable) -> None:
        self._ended = self._ended or problem
        if self._is_waiting and self._task is not None:
            self._task.cancel()

    async def _unless_gone(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What it gives. Raises ClientGone as soon as the caller has left, DeadlinePassed when its time is over."""
        if self._ended is not None:
            raise self._ended
        self._is_waiting = True
        try:
            return await ask()
        except asyncio.CancelledError:
            if self._ended is None or self._task is None:
                raise
            self._task.uncancel()
            raise self._ended from None
        finally:
            self._is_waiting = False

    async def _accept(self) -> None:
        """The call is accepted and on record."""
        call, plane = self._call, self._plane
        future: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()

        def granted(reservation: Reservation) -> None:
            if future.done():
                reservation.undo()
            else:
                future.set_result(reservation)

        def refused(problem: LimitReached | Unavailable) -> None:
            if not future.done():
                future.set_exception(problem)

        call.queued_s = time.monotonic()
        plane.reserve(call, self.count.reserved, granted, refused)
        reservation = future.result() if future.done() else await self._unless_gone(lambda: future)
        plane.accept(call, reservation)
        call.units = self.count.units
        call.remark = ESTIMATED

    def _note(self, *, is_answered: bool) -> None:
        """What is known at the end, however it came."""
        call, count = self._call, self.count
        ended_s = time.monotonic()
        first_s = self._first_s or ended_s
        call.queue_s, call.compute_s = first_s - call.queued_s, ended_s - first_s
        call.units = count.units
        call.remark = ESTIMATED if count.is_estimated else ""
        if count.was_cut:
            _log.warning(
                "the upstream of %s counted %d tokens where %d were the most that could be asked for, and no more are charged;"
                " deploy it with the context that it has",
                self._version.model_id,
                count.prompt_tokens + count.completion_tokens,
                count.reserved,
            )
        self._version.statistics.count_request(
            rows=count.completion_tokens,
            queue_s=call.queue_s,
            compute_s=call.compute_s,
            took_s=ended_s - call.started_s,
            is_answered=is_answered,
        )

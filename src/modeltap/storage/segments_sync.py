"""Usage frames that survive the loss of power: callers who wait at the same time share one sync, which runs on a thread."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from modeltap.errors import StorageFailed
from modeltap.storage.disk import storage_failed
from modeltap.storage.segments import SegmentWriter


class GroupCommit:
    """Lives on one event loop, the one whose thread writes the segments."""

    def __init__(self, segments: SegmentWriter) -> None:
        self._segments = segments
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="usage-sync")
        self._waiting: list[asyncio.Future[None]] = []
        self._is_due = False

    async def flush_power(self) -> None:
        """Everything that was appended before the call is on the disk. Raises StorageFailed; then it may not be."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._start, loop)  # so that all of this turn of the loop share it
        await waiter

    def close(self) -> None:
        """Waits for the sync that runs."""
        self._thread.shutdown(wait=True)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        waiters, self._waiting = self._waiting, []
        handles = self._segments.handles()
        running = loop.run_in_executor(self._thread, _sync, handles)
        running.add_done_callback(lambda done: self._done(loop, done, waiters, handles))

    def _done(
        self,
        loop: asyncio.AbstractEventLoop,
        done: asyncio.Future[OSError | None],
        waiters: list[asyncio.Future[None]],
        handles: list[int],
    ) -> None:
        problem = done.result()
        failure: StorageFailed | None = None
        if problem is None:
            self._segments.synced(handles)
        else:
            failure = storage_failed("syncing usage records", problem)
            self._segments.fail(failure)
        for waiter in waiters:
            if waiter.done():
                continue  # nobody waits there any more
            if failure is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(StorageFailed(failure.message))
        if self._waiting:
            self._start(loop)
        else:
            self._is_due = False


def _sync(handles: list[int]) -> OSError | None:
    try:
        for handle in handles:
            os.fdatasync(handle)
    except OSError as error:
        return error
    return None

"""Parent and child as they are served, side by side: each with its engine behind the batch queue of a lane, asked in turns."""

from __future__ import annotations

import asyncio
import statistics
import time

from modeltap.batching.cost import CostLine
from modeltap.batching.queue import BatchQueue, Entry
from modeltap.batching.stack import bucket_of
from modeltap.compression.certificate import Speeds
from modeltap.domain.deployment import Terms
from modeltap.domain.engine import Engine
from modeltap.domain.signature import Batch, num_rows
from modeltap.serving.lane import Answered, Lane, Work
from modeltap.serving.loading import MAX_QUEUE_BYTES, MAX_QUEUE_ROWS
from modeltap.serving.replica import LocalReplica

TURNS = 11
NUM_STREAMS = 32
TURN_S = 0.06
"""About what a turn of the slower one may take: one of requests alone, one of many at a time."""
LEAST_REQUESTS = 20


def measure_speeds(parent: Engine, child: Engine, parent_rows: Batch, child_rows: Batch) -> Speeds:
    """Rows a second with 32 callers who each ask for one row again and again, and the median time of a caller who is alone.

    Blocks for some seconds. parent_rows, child_rows: rows as each takes them. Which of the two goes first changes from turn to
    turn, so that a machine that grows slower or faster favours neither. Raises Broken where an engine fails.
    """
    return asyncio.run(_measure((parent, child), (_singles(parent_rows), _singles(child_rows))))


async def _measure(engines: tuple[Engine, Engine], rows: tuple[list[Batch], list[Batch]]) -> Speeds:
    lanes = [_Caller(engine, singles) for engine, singles in zip(engines, rows, strict=True)]
    # What runs the first time is slower, and the queue knows no costs yet; these turns only say how long the others are to be.
    alone_s = max([await lane.alone(LEAST_REQUESTS) for lane in lanes])
    at_once = min([await lane.together(NUM_STREAMS * 4) for lane in lanes])
    num_alone = max(LEAST_REQUESTS, int(TURN_S / alone_s))
    num_together = max(NUM_STREAMS * 2, int(TURN_S * at_once))
    for lane in lanes:
        await lane.together(num_together)
    speeds: tuple[list[float], list[float]] = ([], [])
    medians: tuple[list[float], list[float]] = ([], [])
    for number in range(TURNS):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for which in order:
            medians[which].append(await lanes[which].alone(num_alone))
        for which in order:
            speeds[which].append(await lanes[which].together(num_together))
    return Speeds(speeds[0], speeds[1], NUM_STREAMS, medians[0], medians[1])


class _Caller:
    """Callers of one version: its lane is made as for a deployment with the terms that nobody changed."""

    def __init__(self, engine: Engine, singles: list[Batch]) -> None:
        queue = BatchQueue(
            cost=CostLine(),
            max_batch_rows=Terms().max_batch,
            max_queue_rows=MAX_QUEUE_ROWS,
            max_queue_bytes=MAX_QUEUE_BYTES,
            engines=0,
        )
        self._lane = Lane(queue)
        self._lane.add(LocalReplica("compared", engine))
        self._singles = singles
        self._next = 0

    async def alone(self, num_requests: int) -> float:
        """The median seconds of requests that come one after the other."""
        took_s = []
        for _ in range(num_requests):
            begun_s = time.perf_counter()
            await self._run(callers=1, num_requests=1)
            took_s.append(time.perf_counter() - begun_s)
        return statistics.median(took_s)

    async def together(self, num_requests: int) -> float:
        """Rows a second, while so many callers at a time each wait for their answer before they ask again."""
        begun_s = time.perf_counter()
        await self._run(callers=NUM_STREAMS, num_requests=num_requests)
        return num_requests / (time.perf_counter() - begun_s)

    async def _run(self, *, callers: int, num_requests: int) -> None:
        """So many requests of one row are answered. Raises what the first of them ended in."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left, waiting = num_requests - callers, callers

        def answered(outcome: Batch | BaseException) -> None:
            nonlocal left, waiting
            if isinstance(outcome, BaseException):
                if not ended.done():
                    ended.set_exception(outcome)
            elif left > 0:
                left -= 1
                self._submit(answered)
            else:
                waiting -= 1
                if not waiting and not ended.done():
                    ended.set_result(None)

        for _ in range(callers):
            self._submit(answered)
        await ended

    def _submit(self, answered: Answered) -> None:
        inputs = self._singles[self._next % len(self._singles)]
        self._next += 1
        size_bytes = sum(values.nbytes for values in inputs.values())
        self._lane.submit(Entry(1, size_bytes=size_bytes, bucket=bucket_of(inputs), payload=Work(inputs, answered)))


def _singles(rows: Batch) -> list[Batch]:
    return [{name: values[row : row + 1] for name, values in rows.items()} for row in range(num_rows(rows))]

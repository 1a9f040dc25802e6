"""Many rows through a lane in slices behind predictions: a few wait or run at a time, and it can be stopped between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import numpy as np

from modeltap.batching.entry import BULK, Entry
from modeltap.batching.stack import bucket_of
from modeltap.domain.signature import Batch, num_rows
from modeltap.errors import ModeltapError
from modeltap.serving.lane import Lane, Work

SLICE_S = 1.5e-3
"""Of engine time: short enough to run on the event loop itself, and that a prediction waits no longer for it."""
LARGEST_SLICE = 256
"""Up to here it is measured that a row's answer does not depend on how many run with it."""
IN_FLIGHT = 2
"""The next slice is there when an engine has done one."""


class SlicedRun:
    """The outputs of all rows of `asked`; used once. `may_go` is called before each slice, and raises to end the run."""

    def __init__(self, lane: Lane, asked: Batch, *, deadline_s: float, may_go: Callable[[], None]) -> None:
        self._lane = lane
        self._asked = asked
        self._deadline_s = deadline_s
        self._may_go = may_go
        num = num_rows(asked)
        self._size = -(-num // -(-num // slice_rows(lane)))  # alike in size, and no more of them than it takes
        self._starts = range(0, num, self._size)
        self._num_begun = 0
        self._outputs: list[Batch | None] = [None] * len(self._starts)
        self._open: dict[int, Entry] = {}
        self._whole: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
        self.rows_run = 0
        self.queue_s = 0.0
        self.compute_s = 0.0

    async def outputs(self) -> Batch:
        """Raises Overloaded, what `may_go` raises, what the engine raised, and what it was stopped with."""
        self._go_on()
        try:
            return await self._whole
        finally:
            self._let_go()

    def stop(self, problem: BaseException) -> None:
        """Nothing more is run; a slice that runs counts as one that ran."""
        if not self._whole.done():
            self._whole.set_exception(problem)
        self._let_go()

    def _go_on(self) -> None:
        try:
            while len(self._open) < IN_FLIGHT and self._num_begun < len(self._starts) and not self._whole.done():
                self._may_go()
                self._begin(self._num_begun)
        except ModeltapError as problem:
            self.stop(problem)

    def _begin(self, place: int) -> None:
        start = self._starts[place]
        inputs = {name: values[start : start + self._size] for name, values in self._asked.items()}
        work = Work(inputs, partial(self._came, place))
        entry = Entry(
            num_rows(inputs),
            size_bytes=sum(values.nbytes for values in inputs.values()),
            deadline_s=self._deadline_s,
            bucket=bucket_of(inputs),
            priority=BULK,
            payload=work,
        )
        self._lane.submit(entry)
        self._num_begun += 1
        self._open[place] = entry

    def _came(self, place: int, outcome: Batch | BaseException) -> None:
        entry = self._open.pop(place)
        if isinstance(outcome, BaseException):
            self.stop(outcome)
            return
        self.rows_run += entry.rows
        self.queue_s += entry.payload.queue_s
        self.compute_s += entry.payload.compute_s
        self._outputs[place] = outcome
        self._go_on()
        if self._num_begun == len(self._starts) and not self._open and not self._whole.done():
            self._whole.set_result(_joined(self._outputs))

    def _let_go(self) -> None:
        for entry in self._open.values():
            if entry.state == "running":
                self.rows_run += entry.rows
            self._lane.cancel(entry)
        self._open.clear()


def slice_rows(lane: Lane) -> int:
    """Rows of one slice: as a full batch of predictions, or more where they run fast."""
    fast = int(SLICE_S / max(lane.queue.cost.per_row_s, 1e-9))
    return max(lane.queue.max_batch_rows, min(fast, LARGEST_SLICE))


def _joined(outputs: list[Batch | None]) -> Batch:
    parts = [part for part in outputs if part is not None]
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

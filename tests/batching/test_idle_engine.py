"""An engine that has nothing to do is not kept from work by doubt: where runs differ much, a queue that refused what it might
just miss would refuse all, and learn nothing more."""

from __future__ import annotations

import pytest

from modeltap.batching.cost import CostLine
from modeltap.batching.queue import BatchQueue, Entry
from modeltap.errors import Overloaded

ROW_S = 0.005
NOISE = (0.3, 1.0, 4.0, 0.5, 8.0)
"""What runs are slower or faster by, where other programs want the processors too."""
DEADLINE_S = 0.2


def entry(*, deadline_s: float, rows: int = 1) -> Entry:
    return Entry(rows=rows, size_bytes=8, deadline_s=deadline_s)


def unsure_queue() -> tuple[BatchQueue, float]:
    """A queue that has seen such runs of all sizes, and the time."""
    queue = BatchQueue(cost=CostLine(), max_batch_rows=64, max_queue_rows=1000, max_queue_bytes=1 << 20)
    now_s = 0.0
    for number in range(60):
        rows = (1, 2, 7, 14, 3)[number // 5 % 5]
        queue.offer(entry(rows=rows, deadline_s=now_s + 60), now_s)
        batch = queue.take(now_s)
        assert batch is not None
        run_s = ROW_S * rows * NOISE[number % 5]
        now_s += run_s
        queue.finish(batch, now_s, run_s)
    return queue, now_s


def test_an_idle_engine_takes_what_it_may_well_do_in_time() -> None:
    queue, now_s = unsure_queue()
    assert queue.cost.spread > 0.5 and queue.cost.predict(1) < DEADLINE_S / 3
    for _ in range(20):
        queue.offer(entry(deadline_s=now_s + DEADLINE_S), now_s)
        batch = queue.take(now_s)
        assert batch is not None
        now_s += 3 * ROW_S
        queue.finish(batch, now_s, 3 * ROW_S)


def test_it_refuses_what_it_will_hardly_do_in_time() -> None:
    queue, now_s = unsure_queue()
    with pytest.raises(Overloaded):
        queue.offer(entry(deadline_s=now_s + queue.cost.predict(1) / 2), now_s)


def test_behind_a_run_the_doubt_counts() -> None:
    """Nobody loses by it: the engine has something to do."""
    queue, now_s = unsure_queue()
    queue.offer(entry(deadline_s=now_s + DEADLINE_S), now_s)
    assert queue.take(now_s) is not None
    soon_s = 1.5 * queue.cost.predict(2)
    with pytest.raises(Overloaded):
        queue.offer(entry(deadline_s=now_s + soon_s), now_s)

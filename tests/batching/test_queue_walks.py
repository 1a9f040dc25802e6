"""Whatever is done to the queue in whatever order: nothing is lost or doubled, order holds, bounds hold, no engine idles."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from queue_making import make_queue

from modeltap.batching.queue import Entry
from modeltap.errors import Overloaded

MAX_BATCH = 8
MAX_QUEUE = 40
ENDED = ("refused", "answered", "cancelled", "lost")


class QueueWalk(RuleBasedStateMachine):
    """Plays a caller with a clock of its own, and keeps the books of every entry."""

    def __init__(self):
        super().__init__()
        self.queue = make_queue(max_batch_rows=MAX_BATCH, max_queue_rows=MAX_QUEUE, max_queue_bytes=1000, timer_s=0.0)
        self.now_s = 0.0
        self.entries = []
        self.ended = {}
        self.running = []

    def end(self, entry, how):
        assert entry.state == how
        assert entry not in self.ended, "an entry ends once"
        self.ended[entry] = how

    @rule(seconds=st.sampled_from([0.0, 1e-5, 1e-4, 1e-3, 1e-2]))
    def wait(self, seconds):
        self.now_s += seconds

    @rule(
        rows=st.sampled_from([1, 1, 1, 2, 3, 7, 8, 11]),
        size_bytes=st.sampled_from([0, 10, 200]),
        within_s=st.sampled_from([1e-3, 3e-3, 1e-2, math.inf]),
        bucket=st.sampled_from(["a", "a", "a", "b"]),
        priority=st.sampled_from([0, 0, 1]),
        num=st.sampled_from([1, 1, 5]),
    )
    def offer(self, rows, size_bytes, within_s, bucket, priority, num):
        for _ in range(num):
            entry = Entry(rows, size_bytes=size_bytes, deadline_s=self.now_s + within_s, bucket=bucket, priority=priority)
            self.entries.append(entry)
            before = (self.queue.waiting_rows, self.queue.waiting_bytes)
            try:
                self.queue.offer(entry, self.now_s)
            except Overloaded as refusal:
                assert refusal.retry_after_s > 0
                assert (self.queue.waiting_rows, self.queue.waiting_bytes) == before
                self.end(entry, "refused")
            else:
                assert self.queue.waiting_rows <= MAX_QUEUE
                assert self.queue.waiting_bytes <= 1000

    @rule()
    def take(self):
        free = len(self.running) < self.queue.engines
        batch = self.queue.take(self.now_s)
        if batch is None:
            assert not free or not self.queue.waiting_entries or self.queue.linger_until(self.now_s) > self.now_s
            return
        assert free
        self.running.append(batch)
        entries = batch.entries
        assert entries
        assert sum(entry.rows for entry in entries) == batch.rows
        assert batch.rows <= MAX_BATCH or len(entries) == 1
        assert len({(entry.bucket, entry.priority) for entry in entries}) == 1
        order = {entry: number for number, entry in enumerate(self.entries)}
        behind = [e for e in self.waiting() if (e.bucket, e.priority) == (entries[0].bucket, entries[0].priority)]
        numbers = [order[entry] for entry in entries]
        assert numbers == sorted(numbers), "first come, first served within the batch"
        assert all(order[entry] > numbers[-1] for entry in behind), "and before all that wait in its class and bucket"

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 9), factor=st.sampled_from([0.5, 1.0, 1.0, 1.0, 20.0]))
    def finish(self, which, factor):
        batch = self.running.pop(which % len(self.running))
        self.now_s += batch.cost_s * factor
        self.queue.finish(batch, self.now_s, batch.cost_s * factor)
        for entry in batch.entries:
            if not entry.is_cancelled:
                self.end(entry, "answered")

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 9), alive=st.integers(0, 2))
    def lose(self, which, alive):
        batch = self.running.pop(which % len(self.running))
        retried = [entry for entry in batch.entries if entry.retried]
        for entry in self.queue.lose(batch, self.now_s):
            assert entry in retried
            self.end(entry, "lost")
        self.queue.set_engines(alive)

    @precondition(lambda self: self.entries)
    @rule(back=st.integers(0, 60))
    def cancel(self, back):
        entry = self.entries[-1 - back % len(self.entries)]
        going_on = entry.state in ("waiting", "running")
        assert self.queue.cancel(entry) == going_on
        if going_on:
            self.end(entry, "cancelled")

    @rule(alive=st.integers(0, 3))
    def set_engines(self, alive):
        self.queue.set_engines(alive)

    def waiting(self):
        return [entry for entry in self.entries if entry.state == "waiting"]

    @invariant()
    def the_books_agree(self):
        waiting = self.waiting()
        assert self.queue.waiting_entries == len(waiting)
        assert self.queue.waiting_rows == sum(entry.rows for entry in waiting)
        assert self.queue.waiting_bytes == sum(entry.size_bytes for entry in waiting)
        assert set(self.queue.running) == set(self.running)
        for entry in self.entries:
            assert (entry in self.ended) == (entry.state in ENDED)
        oldest = [entry.arrived_s for entry in waiting]
        assert (self.queue.oldest_s is None) == (not oldest)

    def teardown(self):
        """However it stands: what was admitted ends, without another offer."""
        self.queue.set_engines(3)
        for _ in range(2 * len(self.entries) + 2):
            self.now_s += 1.0
            while (batch := self.queue.take(self.now_s)) is not None:
                self.running.append(batch)
            if not self.running:
                break
            self.finish(0, 1.0)
        assert len(self.ended) == len(self.entries)


TestQueueWalk = QueueWalk.TestCase
TestQueueWalk.settings = settings(max_examples=100, stateful_step_count=50)

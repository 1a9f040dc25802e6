"""The dynamic batch queue of one version. It never sleeps and reads no clock: every method is told the time.

    offer(entry, now)          a place in a planned batch, or Overloaded at the door: what is admitted is run, cancelled or lost
    take(now)                  the next batch, if an engine is free; while all are busy, entries gather
    finish(batch, now, run_s)  the engine is free again, and the cost line knows more
    lose(batch, now)           the engine died: its entries come first again, once
    cancel(entry)              a waiting entry is gone, a running one's result will be dropped

Order: interactive before bulk, but while interactive entries wait bulk still gets BULK_SHARE of the engines' time. Within a
class and bucket first come, first served; buckets take turns by their oldest batch.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from modeltap.batching.cost import CostLine
from modeltap.batching.entry import BULK, INTERACTIVE, Batch, Entry
from modeltap.batching.pace import Pace
from modeltap.batching.plan import Plan
from modeltap.errors import Conflict, Overloaded

__all__ = ["BULK", "INTERACTIVE", "Batch", "BatchQueue", "Entry"]

BULK_SHARE = 0.2
MARGIN = 4.0
"""How many mean distances from the cost line, of a full batch, the runs until an answer may take longer than predicted."""
SPREAD_MEMORY = 1 / 4
REPRICE = 0.1
"""When a cost line has moved by this part, the batches that wait are priced again."""
MAX_BUCKETS = 256
"""Cost lines kept; the one that was made first goes first, and is learnt again when its bucket comes back."""


class BatchQueue:
    """Bounds hold for what waits: at most so many rows and bytes, though entries whose engine died come back over them."""

    def __init__(
        self,
        *,
        cost: CostLine,
        max_batch_rows: int,
        max_queue_rows: int,
        max_queue_bytes: int,
        engines: int = 1,
        timer_s: float = 1e-3,
    ) -> None:
        """cost: the line of the first bucket that is seen; other buckets get lines of their own that begin as it then is.
        timer_s: what the caller's timer can tell apart; nothing lingers for less."""
        if min(max_batch_rows, max_queue_rows, max_queue_bytes) < 1 or engines < 0:
            raise ValueError("bounds are at least 1, and engines at least 0")
        self.cost = cost
        self.max_batch_rows = max_batch_rows
        self.max_queue_rows = max_queue_rows
        self.max_queue_bytes = max_queue_bytes
        self.waiting_rows = 0
        self.waiting_bytes = 0
        self.waiting_entries = 0
        self._num_admitted = 0
        self._engines = engines
        self._gone_s: float | None = None
        """Since when there is no engine; None while there is one, and before the first."""
        self._timer_s = timer_s
        self._running: dict[Batch, None] = {}
        self._interactive = Plan(share=1 - BULK_SHARE, waits_for_own_share=False)
        self._bulk = Plan(share=BULK_SHARE, waits_for_own_share=True)
        self._saved_s = 0.0
        """Engine time that bulk has saved up while it waited."""
        self._paces: dict[Hashable, Pace] = {}
        self._spread = cost.spread
        """Of all buckets together: one that hardly ever runs would never learn that its own is small."""
        self._longest_s = cost.predict(max_batch_rows)
        """The longest run of a full batch among all buckets."""

    @property
    def engines(self) -> int:
        return self._engines

    @property
    def running(self) -> tuple[Batch, ...]:
        return tuple(self._running)

    @property
    def oldest_s(self) -> float | None:
        """When the first of the waiting entries arrived; None where none waits."""
        heads = [batch.entries[0].arrived_s for plan in self._plans() if (batch := plan.first()) is not None]
        return min(heads, default=None)

    def set_engines(self, num_engines: int) -> None:
        """So many engines are alive. With none, one is expected to come after as long again as the last has been gone."""
        if num_engines < 0:
            raise ValueError(f"{num_engines} engines; there are none or more")
        self._engines = num_engines
        if num_engines:
            self._gone_s = None

    def offer(self, entry: Entry, now_s: float) -> None:
        """Admits the entry. Raises Overloaded where a bound would be passed or its answer would come after its deadline.

        An entry that is over a bound all alone is refused each time: whoever made it must not have.
        """
        if entry.batch is not None:
            raise Conflict("the entry is in a queue already; offer each entry once")
        rows = entry.rows
        if self.waiting_rows + rows > self.max_queue_rows or self.waiting_bytes + entry.size_bytes > self.max_queue_bytes:
            entry.state = "refused"
            raise self._full(entry, now_s)
        plan = self._bulk if entry.priority else self._interactive
        pace = self._pace(entry.bucket)
        line = pace.line
        engines = self._engines or 1
        base_s = self._base_s(plan, now_s)
        idle = not self.waiting_entries and len(self._running) < self._engines
        kept_rows = rows if idle else pace.kept_rows(rows, self.max_batch_rows)
        cost_s = line.fixed_s + line.per_row_s * kept_rows
        end_s = now_s + cost_s if idle else plan.end_s(cost_s, base_s, engines)
        due_s = entry.deadline_s
        if not idle:  # an engine that would else stand still tries what it may well do, however much its runs differ
            ahead_s = end_s - now_s
            due_s -= MARGIN * self._spread * math.sqrt(min(self._longest_s, ahead_s) * ahead_s)
        if end_s > due_s and kept_rows > rows and not self.waiting_entries:
            # Nobody else wants the next turn: it may be as short as the entry itself.
            kept_rows = rows
            cost_s = line.fixed_s + line.per_row_s * rows
            end_s = plan.end_s(cost_s, base_s, engines)
        batch = plan.open.get(entry.bucket)
        if batch is not None and batch.rows + rows <= self.max_batch_rows:
            joined_rows = batch.rows + rows
            grown_s = 0.0
            if joined_rows > batch.kept_rows:
                grown_s = line.fixed_s + line.per_row_s * joined_rows - batch.cost_s
            if plan.has_time_for(batch, grown_s, due_s, base_s, engines):
                if grown_s:
                    plan.reprice(batch, batch.cost_s + grown_s)
                self._admit(entry, batch, pace, due_s, now_s)
                return
        # The last turn before the deadline is left to buckets that do not wait yet: a frequent one would always be there first,
        # and its second batch would be opened before its first is full.
        crowded = batch is not None and len(self._paces) > 1
        turn_s = min(self._longest_s * plan.per_work_ahead, (due_s - now_s) / 2) if crowded else 0.0
        if end_s + turn_s > due_s and not (idle and entry.deadline_s > now_s and pace.is_doubtful(cost_s, now_s)):
            entry.state = "refused"
            if batch is None:
                pace.refused()
            raise _late(entry, now_s, end_s, end_s + turn_s - due_s)
        if batch is not None:
            batch.kept_rows = 0
            plan.reprice(batch, line.predict(batch.rows))
        batch = Batch(entry.bucket, entry.priority)
        batch.kept_rows = kept_rows
        batch.cost_s = cost_s
        plan.append(batch)
        self._admit(entry, batch, pace, due_s, now_s)

    def take(self, now_s: float) -> Batch | None:
        """The batch to run now: None where no engine is free, nothing waits, or lingering pays (see `linger_until`)."""
        if len(self._running) >= self._engines or not self.waiting_entries or self.linger_until(now_s) is not None:
            return None
        plan, batch = self._next()
        base_s = self._base_s(plan, now_s)
        plan.remove(batch)
        pace = self._pace(batch.bucket)
        self._fill(plan, batch, pace.line, now_s, base_s)
        batch.cost_s = pace.line.predict(batch.rows)
        pace.taken(batch.rows)
        self._settle_shares(batch)
        batch.taken_s = now_s
        batch.ends_s = now_s + batch.cost_s
        for entry in batch.entries:
            entry.state = "running"
        self.waiting_rows -= batch.rows
        self.waiting_bytes -= batch.size_bytes
        self.waiting_entries -= len(batch.entries)
        self._running[batch] = None
        return batch

    def linger_until(self, now_s: float) -> float | None:
        """Until when the one free engine had better wait for another entry; None, as nearly always, where it should not."""
        batch = self._interactive.first()
        if batch is None or self._engines != 1 or self._running or len(batch.entries) != self.waiting_entries:
            return None
        if self._interactive.open.get(batch.bucket) is not batch or batch.rows >= self.max_batch_rows:
            return None
        until_s = self._pace(batch.bucket).linger_until(batch, timer_s=self._timer_s)
        return until_s if until_s is not None and until_s > now_s else None

    def finish(self, batch: Batch, now_s: float, run_s: float | None) -> None:
        """The batch has run and its engine is free. run_s feeds the cost line, None where the run says nothing of its cost."""
        self._end_run(batch)
        for entry in batch.entries:
            if entry.state == "running":
                entry.state = "answered"
            entry.batch = None
        if run_s is not None:
            pace = self._pace(batch.bucket)
            pace.learn(batch.rows, run_s, now_s)
            self._spread += SPREAD_MEMORY * (pace.line.spread - self._spread)
            if pace.has_moved(self.max_batch_rows, REPRICE):
                self._reprice(pace, batch.bucket)

    def lose(self, batch: Batch, now_s: float) -> list[Entry]:
        """The engine died under the batch, and there is one less until `set_engines` says otherwise.

        Entries that meet this for the first time run again, before all others of their class; the others are returned, lost.
        """
        self._end_run(batch)
        self._engines = max(self._engines - 1, 0)
        if not self._engines:
            self._gone_s = now_s
        running = [entry for entry in batch.entries if entry.state == "running"]
        for entry in batch.entries:
            entry.batch = None
        lost = [entry for entry in running if entry.retried]
        for entry in lost:
            entry.state = "lost"
        again = [entry for entry in running if not entry.retried]
        if again:
            retry = Batch(batch.bucket, batch.priority)
            for entry in again:
                entry.retried = True
                retry.add(entry, entry.deadline_s)
                entry.batch = retry
                entry.state = "waiting"
            retry.cost_s = self._pace(retry.bucket).line.predict(retry.rows)
            (self._bulk if retry.priority else self._interactive).put_first(retry)
            self.waiting_rows += retry.rows
            self.waiting_bytes += retry.size_bytes
            self.waiting_entries += len(again)
        return lost

    def cancel(self, entry: Entry) -> bool:
        """Whether the entry waited or ran until now: it is dropped, or its result will be. False for one that has ended."""
        batch = entry.batch
        if batch is None or entry.state not in ("waiting", "running"):
            return False
        if entry.state == "waiting":
            plan = self._bulk if entry.priority else self._interactive
            batch.drop(entry)
            self.waiting_rows -= entry.rows
            self.waiting_bytes -= entry.size_bytes
            self.waiting_entries -= 1
            entry.batch = None
            if batch.entries:
                plan.reprice(batch, self._pace(batch.bucket).line.predict(max(batch.rows, batch.kept_rows)))
            else:
                plan.remove(batch)
        entry.state = "cancelled"
        return True

    def _plans(self) -> tuple[Plan, Plan]:
        return self._interactive, self._bulk

    def _base_s(self, plan: Plan, now_s: float) -> float:
        """When the first waiting batch of the class can start, at the latest, as long as the cost lines are true."""
        if plan is self._bulk:
            # What is saved counts; at most one interactive batch too many goes before bulk has saved enough.
            others_s = max(self._longest_s - plan.per_work_own * self._saved_s, -plan.per_work_own * plan.work_s)
        else:
            others_s = self._saved_s
        for batch in self._running:
            # One that is overdue is expected to need as long again as it is late: a stuck engine makes no promises.
            others_s += abs(batch.ends_s - now_s)
        if self._gone_s is not None:
            others_s += now_s - self._gone_s
        return now_s + others_s / (self._engines or 1)

    def _next(self) -> tuple[Plan, Batch]:
        """What runs next; something waits."""
        bulk = self._bulk.first()
        interactive = self._interactive.first()
        if bulk is not None and (interactive is None or self._saved_s >= bulk.cost_s):
            return self._bulk, bulk
        assert interactive is not None
        return self._interactive, interactive

    def _fill(self, plan: Plan, batch: Batch, line: CostLine, now_s: float, base_s: float) -> None:
        """Fills the taken batch, in order, from those right behind it of its bucket: the plan is never faster than the engine,
        and cancelled entries leave gaps. Nobody behind ends later for it."""
        limit_s = math.inf
        if now_s + line.predict(batch.rows) <= batch.deadline_s:
            limit_s = batch.due_s - now_s
        if batch.priority == BULK and self._interactive.batches:
            limit_s = min(limit_s, self._saved_s)
        most_rows = self.max_batch_rows
        if line.predict(most_rows) > limit_s:
            most_rows = int((limit_s - line.fixed_s) / line.per_row_s) if line.per_row_s else 0
        room = most_rows - batch.rows
        while (follower := plan.first()) is not None and follower.bucket == batch.bucket:
            if follower.rows <= room:
                plan.remove(follower)
                moved = follower.entries
            else:
                movable_s = plan.movable_s(line.predict(batch.rows), follower, base_s, self._engines)
                if movable_s < room * line.per_row_s:
                    room = int(movable_s / line.per_row_s)
                moved = follower.cut(room)
                plan.reprice(follower, line.predict(max(follower.rows, follower.kept_rows)))
            for entry in moved:
                room -= entry.rows
                batch.add(entry, follower.due_s)
                entry.batch = batch
            if moved is not follower.entries:
                return

    def _settle_shares(self, batch: Batch) -> None:
        """Bulk saves up its share while interactive batches go first, and pays for its own."""
        if not self._bulk.batches:
            self._saved_s = 0.0
        elif batch.priority == BULK:
            self._saved_s = max(self._saved_s - batch.cost_s, 0.0)
        else:
            self._saved_s += batch.cost_s * BULK_SHARE / (1 - BULK_SHARE)

    def _admit(self, entry: Entry, batch: Batch, pace: Pace, due_s: float, now_s: float) -> None:
        batch.add(entry, due_s)
        pace.arrived(now_s)
        self._num_admitted += 1
        entry.number = self._num_admitted
        entry.arrived_s = now_s
        entry.state = "waiting"
        entry.batch = batch
        self.waiting_rows += entry.rows
        self.waiting_bytes += entry.size_bytes
        self.waiting_entries += 1

    def _end_run(self, batch: Batch) -> None:
        if batch not in self._running:
            raise Conflict("the batch does not run; finish or lose each batch that was taken once")
        del self._running[batch]

    def _pace(self, bucket: Hashable) -> Pace:
        """The bucket's, made where there is none yet."""
        pace = self._paces.get(bucket)
        if pace is None:
            line = self.cost.branch() if self._paces else self.cost
            if len(self._paces) >= MAX_BUCKETS:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[bucket] = Pace(line, self.max_batch_rows)
        return pace

    def _reprice(self, pace: Pace, bucket: Hashable) -> None:
        """All that waits in the bucket, by what its line says now."""
        pace.full_s = pace.line.predict(self.max_batch_rows)
        self._longest_s = max(known.full_s for known in self._paces.values())
        for plan in self._plans():
            for batch in plan.batches:
                if batch.bucket == bucket:
                    plan.reprice(batch, pace.line.predict(max(batch.rows, batch.kept_rows)))

    def _full(self, entry: Entry, now_s: float) -> Overloaded:
        rows_over = self.waiting_rows + entry.rows - self.max_queue_rows
        bytes_over = self.waiting_bytes + entry.size_bytes - self.max_queue_bytes
        part = max(rows_over / max(self.waiting_rows, 1), bytes_over / max(self.waiting_bytes, 1))
        work_s = min(part, 1.0) * (self._interactive.work_s + self._bulk.work_s)
        return Overloaded(
            f"the queue holds {self.waiting_rows:,} rows and {self.waiting_bytes:,} bytes, and takes"
            f" {self.max_queue_rows:,} and {self.max_queue_bytes:,}; send the request again when some are answered",
            retry_after_s=self._base_s(self._interactive, now_s) - now_s + work_s / (self._engines or 1),
        )


def _late(entry: Entry, now_s: float, end_s: float, late_s: float) -> Overloaded:
    wanted_s = max(entry.deadline_s - now_s, 0.0)
    return Overloaded(
        f"the answer would take up to {end_s - now_s:.3g} s and is wanted within {wanted_s:.3g} s; send the request again"
        " later, or give it more time",
        retry_after_s=late_s,
    )

"""What is known of one bucket: what its batches cost, how fast its entries come, and whether to wait for the next one pays."""

from __future__ import annotations

import math

from modeltap.batching.cost import CostLine
from modeltap.batching.entry import Batch

GAP_STEP = 1.1
UNKNOWN_GAP_S = 1.0
SHORTEST_GAP_S = 1e-6
SIZE_MEMORY = 1 / 4
LESS = 0.99
DOUBT = 20.0
"""So many times the run that it predicts may a cost line rest before it is tried again against its own word."""


class Pace:
    __slots__ = ("_last_s", "_learnt_s", "full_s", "gap_s", "line", "typical_rows")

    def __init__(self, line: CostLine, max_batch_rows: int) -> None:
        self.line = line
        self.full_s = line.predict(max_batch_rows)
        """What a full batch cost when those that wait were last priced."""
        self.gap_s = UNKNOWN_GAP_S
        """The median time between two admitted entries, as it moves: up or down by a step with each. The mean would not show
        that entries come in bursts."""
        self.typical_rows = 1.0
        """Of the batches that were taken last."""
        self._last_s = -math.inf
        self._learnt_s = -math.inf

    def arrived(self, now_s: float) -> None:
        if now_s - self._last_s > self.gap_s:
            self.gap_s = min(self.gap_s * GAP_STEP, UNKNOWN_GAP_S)
        elif self.gap_s > SHORTEST_GAP_S:
            self.gap_s /= GAP_STEP
        self._last_s = now_s

    def taken(self, rows: int) -> None:
        self.typical_rows += SIZE_MEMORY * (rows - self.typical_rows)

    def refused(self) -> None:
        """An entry of a bucket that has nothing waiting found no room: the next ones ask for less, by and by."""
        self.typical_rows = max(self.typical_rows * LESS, 1.0)

    def kept_rows(self, rows: int, max_batch_rows: int) -> int:
        """For how many rows a new batch that begins with so many keeps time in the plan.

        Under overload a batch is opened where the plan ends and the deadline is; without time of its own it could never be
        joined. Twice what is typical lets batches grow to the full size as long as there is demand.
        """
        return max(rows, min(int(2 * self.typical_rows), max_batch_rows))

    def learn(self, rows: int, run_s: float, now_s: float) -> None:
        self.line.learn(rows, run_s)
        self._learnt_s = now_s

    def is_doubtful(self, cost_s: float, now_s: float) -> bool:
        """Whether an idle engine should try a run that the line says is too long: a line that refuses all learns nothing."""
        return now_s - self._learnt_s > DOUBT * cost_s

    def has_moved(self, max_batch_rows: int, part: float) -> bool:
        """Whether a full batch costs another price than when those that wait were last priced."""
        return abs(self.line.predict(max_batch_rows) - self.full_s) > part * self.full_s

    def linger_until(self, batch: Batch, *, timer_s: float) -> float | None:
        """Until when an idle engine should wait for another entry before it runs the batch; None where it should not at all.

        Going now, the next entry pays a fixed part of its own after this run. Waiting, each of the k entries here (r rows in
        all) waits for the gap and for the next one's rows. The sum of all latencies is less with waiting where

            fixed_s  >  (k + 1) · gap_s + per_row_s · r

        and while nothing comes, the gap is at least the silence so far: that gives the moment to stop. Where that is too
        soon for the caller's timer, waiting is not tried.
        """
        line = self.line
        num_entries = len(batch.entries)
        patience_s = (line.fixed_s - line.per_row_s * batch.rows) / (num_entries + 1)
        if patience_s <= self.gap_s or patience_s < timer_s or not line.tells_fixed_part:
            return None
        fair_s = batch.entries[0].arrived_s + line.fixed_s
        return min(self._last_s + patience_s, fair_s, batch.due_s - batch.cost_s)

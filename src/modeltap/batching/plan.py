"""The batches of one class that wait, in the order in which they will run, and by when each will have run at the latest.

An entry is given its batch when it is admitted, not when an engine is free: so its end is known at the door, and every promise
made to those before it can be checked against what it adds. Each class is sure of a share of the engines' time while the other
class waits too; with that share alone the ends below hold, whatever the other class brings later.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable

from modeltap.batching.entry import Batch

LOOK_BACK = 32
"""So many batches behind its own are looked at before an entry joins; one that would go further opens a new batch instead."""


class Plan:
    """Waiting batches of one class. `base_s` in the methods is when the first of them could start, at the latest."""

    __slots__ = ("batches", "open", "per_work_ahead", "per_work_own", "work_s")

    def __init__(self, *, share: float, waits_for_own_share: bool) -> None:
        """share: of the engines' time, while the other class waits too. waits_for_own_share: whether a batch goes only when its
        class has saved up the time that the batch itself will take."""
        self.per_work_ahead = 1 / share
        self.per_work_own = 1 / share - 1 if waits_for_own_share else 0.0
        self.batches: OrderedDict[Batch, None] = OrderedDict()
        self.open: dict[Hashable, Batch] = {}
        """The last batch of each bucket: the one that may still be joined."""
        self.work_s = 0.0
        """Seconds that all of them will run."""

    def end_s(self, cost_s: float, base_s: float, engines: int) -> float:
        """When a batch that is put behind all others will have run, at the latest."""
        return base_s + (self.per_work_ahead * self.work_s + self.per_work_own * cost_s) / engines + cost_s

    def has_time_for(self, batch: Batch, grown_s: float, due_s: float, base_s: float, engines: int) -> bool:
        """Whether an entry that is due then may join the batch, which then runs `grown_s` longer: it and all in the batch and
        behind it end in time. Those that will be late anyway hold nobody up."""
        ahead_s = self.work_s
        per_work = self.per_work_ahead / engines
        per_own = 1 + self.per_work_own / engines
        if grown_s == 0 and base_s + per_work * (ahead_s - batch.cost_s) + per_own * batch.cost_s <= due_s:
            return True
        for looked, other in enumerate(reversed(self.batches)):
            ahead_s -= other.cost_s
            end_s = base_s + per_work * ahead_s + per_own * other.cost_s
            if other is batch:
                grown_end_s = end_s + per_own * grown_s
                return grown_end_s <= due_s and (grown_s == 0 or grown_end_s <= other.due_s or end_s > other.deadline_s)
            if end_s <= other.deadline_s and end_s + per_work * grown_s > other.due_s:
                return False
            if looked == LOOK_BACK:
                return False
        return False

    def movable_s(self, cost_s: float, follower: Batch, base_s: float, engines: int) -> float:
        """How much work may move from the follower to the batch that runs right before it, which now costs so much, so that
        what stays still ends in time: time of its own becomes time ahead of it, which the other class may add to."""
        per_moved = (self.per_work_ahead - self.per_work_own) / engines - 1
        end_s = base_s + (self.per_work_ahead * cost_s + self.per_work_own * follower.cost_s) / engines + follower.cost_s
        if per_moved <= 0 or end_s > follower.deadline_s:
            return math.inf
        return max(follower.due_s - end_s, 0.0) / per_moved

    def append(self, batch: Batch) -> None:
        """Behind all others, and open."""
        self.batches[batch] = None
        self.open[batch.bucket] = batch
        self.work_s += batch.cost_s

    def put_first(self, batch: Batch) -> None:
        """Before all others, and closed; behind those that were put first before and came earlier."""
        earlier = []
        for other in self.batches:
            if not other.entries[0].retried or other.entries[0].number > batch.entries[0].number:
                break
            earlier.append(other)
        self.batches[batch] = None
        for first in (batch, *reversed(earlier)):
            self.batches.move_to_end(first, last=False)
        self.work_s += batch.cost_s

    def reprice(self, batch: Batch, cost_s: float) -> None:
        """The waiting batch will run so long."""
        self.work_s += cost_s - batch.cost_s
        batch.cost_s = cost_s

    def first(self) -> Batch | None:
        return next(iter(self.batches), None)

    def remove(self, batch: Batch) -> None:
        """It does not wait any more."""
        del self.batches[batch]
        if self.open.get(batch.bucket) is batch:
            del self.open[batch.bucket]
        self.work_s = self.work_s - batch.cost_s if self.batches else 0.0

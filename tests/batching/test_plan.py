"""The plan's two questions, on batches worked out by hand: who may join, and how much may move forward."""

from __future__ import annotations

import math

import pytest

from modeltap.batching.entry import Batch, Entry
from modeltap.batching.plan import LOOK_BACK, Plan


def waiting(plan, *, cost_s, due_s=math.inf, bucket=None):
    batch = Batch(bucket, 0)
    batch.add(Entry(1, deadline_s=due_s), due_s)
    batch.cost_s = cost_s
    plan.append(batch)
    return batch


@pytest.fixture
def plan():
    """A class that is sure of all the time, so that ends are plain sums."""
    return Plan(share=1.0, waits_for_own_share=False)


def test_an_end_is_the_sum_of_what_runs_before(plan):
    waiting(plan, cost_s=2.0)
    waiting(plan, cost_s=3.0)
    assert plan.end_s(1.0, 10.0, 1) == 16.0
    assert plan.end_s(1.0, 10.0, 5) == 12.0


def test_an_end_allows_for_the_share_of_the_other_class():
    interactive = Plan(share=0.8, waits_for_own_share=False)
    bulk = Plan(share=0.2, waits_for_own_share=True)
    for plan in (interactive, bulk):
        waiting(plan, cost_s=4.0)
    assert interactive.end_s(1.0, 0.0, 1) == pytest.approx(4.0 / 0.8 + 1.0)
    assert bulk.end_s(1.0, 0.0, 1) == pytest.approx((4.0 + 1.0) / 0.2)


def test_one_may_join_as_long_as_all_end_in_time(plan):
    batch = waiting(plan, cost_s=2.0, due_s=3.0)
    waiting(plan, cost_s=2.0, due_s=4.5)
    assert plan.has_time_for(batch, 0.4, 2.4, 0.0, 1)
    assert not plan.has_time_for(batch, 0.4, 2.3, 0.0, 1), "it would be late itself"
    assert not plan.has_time_for(batch, 0.6, 9.0, 0.0, 1), "the batch behind would be late"
    plan.remove(next(reversed(plan.batches)))
    assert plan.has_time_for(batch, 0.6, 9.0, 0.0, 1)
    assert not plan.has_time_for(batch, 1.1, 9.0, 0.0, 1), "those in the batch would be late"


def test_those_that_are_late_anyway_hold_nobody_up(plan):
    batch = waiting(plan, cost_s=2.0, due_s=1.0)
    waiting(plan, cost_s=2.0, due_s=3.0)
    assert plan.has_time_for(batch, 0.5, 9.0, 0.0, 1)


def test_one_that_would_have_to_pass_very_many_opens_a_batch_instead(plan):
    batch = waiting(plan, cost_s=1.0, bucket="mine")
    for number in range(LOOK_BACK):
        waiting(plan, cost_s=1.0, bucket=number)
    assert plan.has_time_for(batch, 0.5, math.inf, 0.0, 1)
    waiting(plan, cost_s=1.0, bucket="one more")
    assert not plan.has_time_for(batch, 0.5, math.inf, 0.0, 1)
    assert plan.has_time_for(batch, 0.0, math.inf, 0.0, 1), "without growth nobody has to be asked"


def test_what_moves_forward_leaves_what_stays_in_time():
    plan = Plan(share=0.8, waits_for_own_share=False)
    follower = waiting(plan, cost_s=2.0, due_s=5.0)
    moved_s = plan.movable_s(2.0, follower, 0.0, 1)
    before_s = 2.0 / 0.8 + 2.0
    after_s = (2.0 + moved_s) / 0.8 + 2.0 - moved_s
    assert before_s < after_s == pytest.approx(5.0)
    assert plan.movable_s(2.0, follower, 0.0, 2) == math.inf
    assert plan.movable_s(2.0, follower, 1.0, 1) == math.inf, "late anyway"
    follower.due_s = 4.0
    assert plan.movable_s(2.0, follower, 0.0, 1) == 0.0


def test_those_that_come_back_keep_their_order(plan):
    waiting(plan, cost_s=1.0)
    numbers = []
    for number in (3, 1, 2):
        batch = Batch(None, 0)
        entry = Entry(1)
        entry.number, entry.retried = number, True
        batch.add(entry, math.inf)
        plan.put_first(batch)
    while (first := plan.first()) is not None:
        numbers.append(first.entries[0].number)
        plan.remove(first)
    assert numbers == [1, 2, 3, 0]
    assert plan.work_s == 0.0

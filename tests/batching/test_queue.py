"""What the queue admits and refuses, in which order it runs what it admitted, and what becomes of entries when engines die."""

from __future__ import annotations

import math

import pytest
from queue_making import FIXED_S, FULL_S, MAX_ROWS, PER_ROW_S, make_queue

from modeltap.batching.queue import BULK, INTERACTIVE, Entry
from modeltap.errors import Conflict, Overloaded


def offer(queue, now_s=0.0, rows=1, **about):
    entry = Entry(rows, **about)
    queue.offer(entry, now_s)
    return entry


def run_next(queue, now_s, run_s):
    """The entries of the next batch, run to its end."""
    batch = queue.take(now_s)
    queue.finish(batch, now_s + run_s, run_s)
    return batch.entries


def test_an_idle_engine_goes_at_once_and_a_busy_one_lets_entries_gather():
    queue = make_queue()
    first = offer(queue)
    batch = queue.take(0.0)
    assert batch.entries == [first]
    assert first.state == "running"
    later = [offer(queue, 1e-5) for _ in range(5)]
    assert queue.take(1e-5) is None
    queue.finish(batch, 1e-3, 1e-3)
    assert first.state == "answered"
    assert queue.take(1e-3).entries == later
    assert queue.waiting_entries == queue.waiting_rows == queue.waiting_bytes == 0


def test_nothing_waits_nothing_runs():
    queue = make_queue()
    assert queue.take(0.0) is None
    assert queue.linger_until(0.0) is None
    assert queue.oldest_s is None


def test_a_batch_has_at_most_its_rows_and_what_is_larger_goes_alone():
    queue = make_queue(max_batch_rows=8)
    rows = [3, 4, 5, 20, 1, 1]
    entries = [offer(queue, rows=num) for num in rows]
    taken = [run_next(queue, 0.0, 1e-3) for _ in range(4)]
    assert taken == [entries[:2], entries[2:3], entries[3:4], entries[4:]]


def test_buckets_are_never_mixed_and_go_in_the_order_of_their_first_entries():
    queue = make_queue()
    short = [offer(queue, bucket="short")]
    long = [offer(queue, bucket="long")]
    short.append(offer(queue, bucket="short"))
    long.append(offer(queue, bucket="long"))
    assert [run_next(queue, 0.0, 1e-3) for _ in range(2)] == [short, long]


def test_interactive_goes_before_bulk():
    queue = make_queue()
    bulk = [offer(queue, priority=BULK) for _ in range(3)]
    interactive = offer(queue)
    assert run_next(queue, 0.0, 1e-3) == [interactive]
    assert run_next(queue, 1.0, 1e-3) == bulk


def test_bulk_gets_its_share_while_interactive_entries_never_cease():
    queue = make_queue()
    now_s, interactive_s, bulk_s = 0.0, 0.0, 0.0
    for _ in range(200):
        for priority in (INTERACTIVE, BULK) * MAX_ROWS:
            offer(queue, now_s, priority=priority)
        batch = queue.take(now_s)
        run_s = FIXED_S + PER_ROW_S * batch.rows
        interactive_s, bulk_s = (interactive_s, bulk_s + run_s) if batch.priority else (interactive_s + run_s, bulk_s)
        now_s += run_s
        queue.finish(batch, now_s, run_s)
    assert bulk_s / (bulk_s + interactive_s) == pytest.approx(0.2, abs=0.02)


def test_what_would_be_late_is_refused_at_the_door_with_the_time_to_wait():
    queue = make_queue()
    num_admitted = 0
    while True:
        entry = Entry(1, deadline_s=10 * FULL_S)
        try:
            queue.offer(entry, 0.0)
        except Overloaded as problem:
            refusal = problem
            break
        num_admitted += 1
    assert entry.state == "refused"
    assert 4 * MAX_ROWS < num_admitted <= 10 * MAX_ROWS
    assert 0 < refusal.retry_after_s < 10 * FULL_S
    assert "give it more time" in refusal.message
    offer(queue, deadline_s=10 * FULL_S + refusal.retry_after_s)


def test_who_joins_a_batch_makes_nobody_late_in_it_or_behind_it():
    queue = make_queue()
    for number in range(40):  # runs that teach the line what is true, so that no margin is left
        offer(queue, number * 1.0, rows=1 + number % 2)
        run_next(queue, number * 1.0, FIXED_S + PER_ROW_S * (1 + number % 2))
    now_s = 50.0
    offer(queue, now_s)
    running = queue.take(now_s)
    first = [offer(queue, now_s, bucket="first")]
    in_a_hurry = offer(queue, now_s, bucket="second", deadline_s=now_s + 4.5 * (FIXED_S + PER_ROW_S))
    first += [offer(queue, now_s, bucket="first") for _ in range(MAX_ROWS - 1)]
    while queue.running:
        now_s += running.cost_s
        queue.finish(running, now_s, running.cost_s)
        if in_a_hurry.state == "answered":
            break
        running = queue.take(now_s)
    assert now_s <= in_a_hurry.deadline_s
    assert not all(entry.state == "answered" for entry in first)


def test_a_deadline_that_has_passed_is_refused_also_where_nothing_waits():
    with pytest.raises(Overloaded):
        offer(make_queue(), 1.0, deadline_s=0.9)


def test_bounds_are_never_passed():
    queue = make_queue(max_queue_rows=10, max_queue_bytes=100)
    offer(queue, rows=10, size_bytes=10)
    with pytest.raises(Overloaded, match="takes 10 and 100"):
        offer(queue, rows=1, size_bytes=1)
    queue.take(0.0)
    offer(queue, rows=1, size_bytes=100)
    with pytest.raises(Overloaded) as refusal:
        offer(queue, rows=1, size_bytes=1)
    assert refusal.value.retry_after_s > 0
    assert queue.waiting_rows == 1
    assert queue.waiting_bytes == 100


def test_nothing_is_promised_behind_an_engine_that_is_stuck():
    queue = make_queue()
    offer(queue)
    queue.take(0.0)
    offer(queue, 0.1, deadline_s=0.5)
    with pytest.raises(Overloaded):
        offer(queue, 10.0, deadline_s=15.0)


def test_where_there_is_no_engine_the_promise_is_as_uncertain_as_the_wait_is_long():
    queue = make_queue()
    offer(queue)
    queue.lose(queue.take(0.0), 1.0)
    offer(queue, 1.001, deadline_s=1.1)
    with pytest.raises(Overloaded):
        offer(queue, 11.0, deadline_s=12.0)
    offer(queue, 11.0, deadline_s=30.0)
    queue.set_engines(1)
    offer(queue, 11.0, deadline_s=12.0)


def test_after_full_batches_a_short_turn_is_still_a_turn():
    queue = make_queue()
    now_s = 0.0
    for _ in range(20):
        for _ in range(MAX_ROWS):
            offer(queue, now_s)
        run_next(queue, now_s, FULL_S)
        now_s += FULL_S
    offer(queue, now_s)
    queue.take(now_s)
    offer(queue, now_s, deadline_s=now_s + 2.5 * (FIXED_S + PER_ROW_S))


def test_what_bulk_had_saved_at_wrong_prices_is_no_promise():
    queue = make_queue(prior=1000.0)
    offer(queue)
    offer(queue, priority=BULK)
    run_next(queue, 0.0, FIXED_S + PER_ROW_S)
    offer(queue, 0.1, priority=BULK, deadline_s=0.2)
    with pytest.raises(Overloaded):
        offer(queue, 0.1, rows=10 * MAX_ROWS, priority=BULK, deadline_s=0.1 + 5 * FULL_S)


def test_a_line_that_is_too_slow_is_put_to_the_test_by_an_idle_engine():
    queue = make_queue(prior=1000.0)
    offer(queue, deadline_s=0.01)
    assert len(run_next(queue, 0.0, 1e-4)) == 1
    for number in range(1, 20):
        offer(queue, number * 0.01, deadline_s=number * 0.01 + 0.01)
        run_next(queue, number * 0.01, 1e-4)


def test_cancelled_entries_are_dropped_while_they_wait_and_marked_while_they_run():
    queue = make_queue()
    running = [offer(queue, size_bytes=3), offer(queue, size_bytes=3)]
    batch = queue.take(0.0)
    waiting = [offer(queue, size_bytes=5), offer(queue, size_bytes=5), offer(queue, size_bytes=5)]
    assert queue.cancel(waiting[1])
    assert queue.cancel(running[0])
    assert not queue.cancel(waiting[1])
    assert (queue.waiting_entries, queue.waiting_rows, queue.waiting_bytes) == (2, 2, 10)
    queue.finish(batch, 1e-3, 1e-3)
    assert [entry.state for entry in running] == ["cancelled", "answered"]
    assert running[0].is_cancelled
    assert queue.take(1e-3).entries == [waiting[0], waiting[2]]
    assert not queue.cancel(running[1])


def test_gaps_of_cancelled_entries_are_filled_by_those_behind():
    queue = make_queue(max_batch_rows=8)
    entries = [offer(queue) for _ in range(24)]
    for entry in entries[1:7] + entries[9:15]:
        queue.cancel(entry)
    left = [entry for entry in entries if entry.state == "waiting"]
    assert run_next(queue, 0.0, 1e-3) == left[:8]
    assert run_next(queue, 1.0, 1e-3) == left[8:]
    assert queue.take(2.0) is None


def test_when_all_are_cancelled_nothing_is_left():
    queue = make_queue()
    entries = [offer(queue, bucket=number % 3, priority=number % 2) for number in range(50)]
    assert all(queue.cancel(entry) for entry in entries)
    assert queue.take(0.0) is None
    assert queue.oldest_s is None
    offer(queue, deadline_s=1.1 * (FIXED_S + PER_ROW_S))


def test_entries_of_an_engine_that_died_come_first_again_once():
    queue = make_queue(engines=2)
    first = [offer(queue) for _ in range(3)]
    dying = queue.take(0.0)
    second = [offer(queue) for _ in range(2)]
    also_dying = queue.take(0.0)
    third = offer(queue)
    queue.cancel(first[1])
    assert queue.lose(also_dying, 0.1) == []
    assert queue.lose(dying, 0.1) == []
    assert queue.engines == 0
    assert queue.take(0.1) is None
    queue.set_engines(1)
    again = queue.take(0.2)
    assert again.entries[:2] == [first[0], first[2]]
    assert first[1].state == "cancelled"
    lost = queue.lose(again, 0.3)
    assert lost == [entry for entry in again.entries if entry is not third]
    assert {entry.state for entry in lost} == {"lost"}
    queue.set_engines(1)
    left = []
    while (batch := queue.take(0.4)) is not None:
        left += batch.entries
        queue.finish(batch, 0.4, None)
    assert set(left) | set(lost) == {first[0], first[2], *second, third}


def test_more_engines_run_more_batches_at_a_time():
    queue = make_queue(max_batch_rows=1)
    for _ in range(5):
        offer(queue)
    assert queue.take(0.0) is not None
    assert queue.take(0.0) is None
    queue.set_engines(3)
    assert [queue.take(0.0) is None for _ in range(3)] == [False, False, True]
    assert len(queue.running) == 3


def test_misuse_is_named():
    queue = make_queue()
    entry = offer(queue)
    with pytest.raises(Conflict, match="offer each entry once"):
        queue.offer(entry, 0.0)
    batch = queue.take(0.0)
    queue.finish(batch, 1.0, 1.0)
    with pytest.raises(Conflict, match="does not run"):
        queue.finish(batch, 1.0, 1.0)
    with pytest.raises(ValueError, match="-1 engines"):
        queue.set_engines(-1)
    with pytest.raises(ValueError, match="at least 1"):
        make_queue(max_batch_rows=0)


def test_an_entry_that_has_ended_holds_no_other_in_memory():
    queue = make_queue()
    entry = offer(queue)
    run_next(queue, 0.0, 1e-3)
    assert entry.batch is None
    dropped = offer(queue)
    queue.cancel(dropped)
    assert dropped.batch is None


def test_many_buckets_come_and_go():
    queue = make_queue()
    for number in range(1000):
        offer(queue, number * 1.0, bucket=number, deadline_s=math.inf)
        run_next(queue, number * 1.0, FULL_S)
    assert queue.waiting_entries == 0


def test_each_bucket_has_a_cost_line_of_its_own():
    queue = make_queue()
    for number in range(40):
        for bucket, run_s in (("short", 1e-3), ("long", 1.0)):
            offer(queue, number * 2.0, bucket=bucket)
            run_next(queue, number * 2.0, run_s)
    offer(queue, 80.0, bucket="short", deadline_s=80.1)
    run_next(queue, 80.0, 1e-3)
    with pytest.raises(Overloaded):
        offer(queue, 80.1, bucket="long", deadline_s=80.2)

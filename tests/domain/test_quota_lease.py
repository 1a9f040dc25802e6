"""Limits that several workers keep together: never passed, and reached, whatever happens to messages and workers."""

from __future__ import annotations

from random import Random

import pytest
from lease_world import KEY, NEW_YEARS_EVE_S, NOW_S, TENANT, World, check_now, check_windows

from modeltap.domain.quota import QuotaBook, Reservation
from modeltap.domain.quota_counters import Subject
from modeltap.domain.quota_holder import LeaseHolder
from modeltap.domain.quota_lease import RECALL_WAIT_S, LeaseOwner
from modeltap.domain.tenant import Limits
from modeltap.errors import BudgetSpent, LimitReached, RateLimited


def refusals(world: World) -> list[LimitReached]:
    return [request.outcome for request in world.requests if isinstance(request.outcome, LimitReached)]


@pytest.mark.parametrize("num_workers", [1, 2, 4])
@pytest.mark.parametrize("spread_s", [0.0, 0.9, 20.0])
def test_200_callers_of_100_a_minute_are_granted_exactly_100(num_workers: int, spread_s: float) -> None:
    world, random = World({KEY: Limits(rpm=100), TENANT: Limits(rpm=150)}, num_workers), Random(num_workers)
    for number in range(200):
        world.ask(random.choice(sorted(world.workers)))
        if number % 3:
            world.deliver_all(random)
        world.now_s += spread_s / 200
        if number % 20 == 0:
            world.tick()
    world.deliver_all(random)
    assert len(world.granted()) == 100
    assert len(refusals(world)) == 100
    assert not world.waiting


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_all_units_all_places_and_all_money_can_be_used_by_whichever_worker(num_workers: int) -> None:
    for limits, name in (
        (Limits(upm=50), "upm"),
        (Limits(concurrency=50), "concurrency"),
        (Limits(budget_day_nano=50), "budget_day"),
        (Limits(budget_month_nano=50), "budget_month"),
    ):
        world, random = World({KEY: limits}, num_workers), Random(1)
        for number in range(80):
            world.ask(f"w{number % num_workers}", cost_nano=1)
            world.deliver_all(random)
        assert len(world.granted()) == 50, name
        assert {told.limit for told in refusals(world)} == {name}


def test_one_big_request_gets_what_lies_unused_with_the_others() -> None:
    world, random = World({TENANT: Limits(upm=1000)}, 4), Random(1)
    for worker in sorted(world.workers):
        world.ask(worker, units=1)
        world.deliver_all(random)
    big = world.ask("w3", units=996)
    world.deliver_all(random)
    assert big.granted is not None


def test_two_workers_that_hold_what_the_other_needs_do_not_wait_for_each_other() -> None:
    world, random = World({KEY: Limits(concurrency=1, rpm=50), TENANT: Limits(upm=20)}, 2), Random(3)
    for _ in range(20):
        one, two = world.ask("w0", units=2), world.ask("w1", units=2)
        world.deliver_all(random)
        done = [request for request in (one, two) if request.granted is not None]
        assert len(done) == 1
        world.end(done[0], units=1, cost_nano=0)
        world.deliver_all(random)
        if len(world.granted()) == 19:
            return
    raise AssertionError("twenty units are nineteen requests that reserve two and use one")


def test_a_refusal_holds_at_its_worker_without_a_question_until_the_window_moves() -> None:
    world, random = World({KEY: Limits(rpm=2)}, 2), Random(1)
    for _ in range(3):
        world.ask("w0")
        world.deliver_all(random)
    told = world.ask("w0").outcome
    assert isinstance(told, RateLimited)
    assert told.retry_after_s == 61
    assert not world.up["w0"]
    world.now_s += 61
    again = world.ask("w0")
    world.deliver_all(random)
    assert again.granted is not None


def test_a_limit_that_is_raised_is_told_to_those_who_were_refused() -> None:
    world, random = World({KEY: Limits(rpm=1)}, 2), Random(1)
    for _ in range(2):
        world.ask("w0")
        world.deliver_all(random)
    world.book.set_limits(KEY, Limits(rpm=2))
    world.tell(world.owner.recall(KEY))
    world.deliver_all(random)
    again = world.ask("w0")
    world.deliver_all(random)
    assert again.granted is not None


def test_a_limit_of_another_kind_holds_from_the_next_request_on() -> None:
    world, random = World({KEY: Limits(rpm=1000)}, 2), Random(1)
    first = world.ask("w0")
    world.deliver_all(random)
    world.book.set_limits(KEY, Limits(concurrency=1))
    world.tell(world.owner.recall(KEY))
    world.deliver_all(random)
    second = world.ask("w0")
    world.deliver_all(random)
    assert second.granted is not None
    world.end(first, units=1, cost_nano=0)  # it was accepted before the limit, and gives no place back
    for worker in ("w0", "w1"):
        refused = world.ask(worker)
        world.deliver_all(random)
        assert isinstance(refused.outcome, RateLimited)


def test_a_worker_without_traffic_keeps_nothing() -> None:
    world, random = World({KEY: Limits(rpm=60, concurrency=8, budget_day_nano=100)}, 2), Random(1)
    request = world.ask("w0", cost_nano=3)
    world.deliver_all(random)
    world.end(request, units=1, cost_nano=2)
    for _ in range(4):
        world.now_s += 1
        world.tick()
        world.deliver_all(random)
    counters = world.book.counters(KEY)
    assert counters is not None
    assert (counters.in_flight, counters.num_requests, counters.day_nano) == (0, 1, 2)


def test_a_dead_worker_frees_its_places_at_once_and_its_money_once_its_records_are_read() -> None:
    world, random = World({KEY: Limits(concurrency=2, budget_day_nano=100)}, 2), Random(1)
    for _ in range(2):
        world.ask("w0", cost_nano=20)
        world.deliver_all(random)
    world.end(world.requests[0], units=1, cost_nano=15)
    world.kill("w0")
    blocked = world.ask("w1", cost_nano=81)
    world.deliver_all(random)
    assert isinstance(blocked.outcome, BudgetSpent)
    world.settle_dead("w0")
    for cost_nano, fits in ((85, True), (1, False)):
        request = world.ask("w1", cost_nano=cost_nano)
        world.deliver_all(random)
        assert (request.granted is not None) == fits


def test_who_waits_for_a_worker_that_hangs_is_refused_in_time() -> None:
    world, random = World({KEY: Limits(concurrency=4)}, 2), Random(1)
    world.ask("w0")
    world.deliver_all(random)
    big = [world.ask("w1") for _ in range(4)]
    while world.up["w1"] or world.down["w1"]:
        (world.deliver_up if world.up["w1"] else world.deliver_down)("w1")
    waiting = [request for request in big if request.outcome is None]
    world.now_s += 0.9 * RECALL_WAIT_S
    world.tick()
    assert waiting and not world.down["w1"], "a slow worker is not taken for one that hangs"
    world.now_s += 0.2 * RECALL_WAIT_S
    world.tick()
    while world.up["w1"] or world.down["w1"]:
        (world.deliver_up if world.up["w1"] else world.deliver_down)("w1")
    assert all(request.outcome is not None for request in waiting)


def test_leases_that_come_a_second_late_are_asked_for_again() -> None:
    world, random = World({KEY: Limits(rpm=3, concurrency=3)}, 1), Random(1)
    request = world.ask("w0")
    world.deliver_up("w0")
    world.now_s += 1
    world.deliver_down("w0")
    assert request.outcome is None
    world.deliver_all(random)
    assert request.granted is not None
    assert int(request.granted.at_s) == NOW_S + 1
    for _ in range(3):
        world.ask("w0")
        world.deliver_all(random)
    assert len(world.granted()) == 3


def test_what_is_leased_for_one_second_is_not_used_in_another() -> None:
    world, random = World({KEY: Limits(rpm=10)}, 1), Random(1)
    for gap_s, callers in ((0, 1), (59, 4), (3, 10)):
        world.now_s += gap_s
        for _ in range(callers):
            world.ask("w0")
        world.deliver_all(random)
    check_windows(world.granted(), Limits(rpm=10))
    assert len(world.granted()) == 1 + 4 + 6


def test_units_that_come_back_late_free_the_second_in_which_they_were_counted() -> None:
    world, random = World({KEY: Limits(upm=12)}, 1), Random(1)
    first = world.ask("w0", units=10)
    world.deliver_all(random)
    world.now_s += 59
    world.ask("w0", units=1)
    world.deliver_all(random)
    world.end(first, units=0, cost_nano=0)
    for gap_s, fits in ((0, True), (3, False)):
        world.now_s += gap_s
        world.tick()
        request = world.ask("w0", units=10)
        world.deliver_all(random)
        assert (request.granted is not None) == fits


def test_money_that_is_leased_on_one_day_is_not_spent_on_the_next() -> None:
    limits = Limits(budget_day_nano=10)
    world, random = World({KEY: limits}, 1, NEW_YEARS_EVE_S), Random(1)
    for gap_s, cost_nano in ((0, 1), (60, 5), (1, 8), (1, 5)):
        world.now_s += gap_s
        world.ask("w0", cost_nano=cost_nano)
        world.deliver_all(random)
    check_now(world, world.granted(), limits)
    assert [request.cost_nano for request in world.granted()] == [1, 5, 5]


def test_a_place_that_comes_free_after_it_was_called_back_goes_back_at_once() -> None:
    world, random = World({KEY: Limits(concurrency=1)}, 2), Random(1)
    first = world.ask("w0")
    world.deliver_all(random)
    assert world.ask("w1").outcome is None
    world.deliver_all(random)
    world.end(first, units=1, cost_nano=0)
    again = world.ask("w1")
    world.deliver_up("w0")
    world.deliver_up("w1")
    world.deliver_down("w1")
    assert again.granted is not None


def test_free_requests_do_not_slip_past_a_limit_that_is_new() -> None:
    world, random = World({KEY: Limits(budget_day_nano=100)}, 2), Random(1)
    for worker in ("w0", "w1"):
        world.ask(worker, cost_nano=1)
        world.deliver_all(random)
    world.book.set_limits(KEY, Limits(budget_day_nano=100, concurrency=3))
    world.tell(world.owner.recall(KEY))
    world.deliver_all(random)
    later = []
    for number in range(5):
        later.append(world.ask(f"w{number % 2}"))
        world.deliver_all(random)
    assert [request.granted is not None for request in later] == [True, True, True, False, False]


def test_a_grant_that_crosses_what_is_given_back_is_known_to_lie_there() -> None:
    limits = {Subject("acme", "k2"): Limits(upm=1), TENANT: Limits(upm=100)}
    world, random = World(limits, 2), Random(1)
    one = world.ask("w0", "k1")
    world.deliver_up("w0")
    never = world.ask("w0", "k2", units=5)  # says that nothing of the tenant is left, while the grant is on its way
    world.deliver_all(random)
    assert one.granted is not None
    assert never.granted is None
    most = world.ask("w1", "k3", units=99)
    world.deliver_all(random)
    assert most.granted is not None


def test_a_big_request_is_not_overtaken_while_leases_are_called_back_for_it() -> None:
    world, random = World({TENANT: Limits(upm=100)}, 3), Random(1)
    world.ask("w2")
    world.deliver_all(random)
    big, small = world.ask("w0", units=95), world.ask("w1", units=80)
    world.deliver_up("w0")
    world.deliver_up("w1")
    world.deliver_all(random)
    assert big.granted is not None
    assert isinstance(small.outcome, RateLimited)


def test_a_lease_of_an_owner_whose_clock_is_ahead_counts_by_that_clock() -> None:
    book = QuotaBook()
    book.set_limits(KEY, Limits(rpm=1))
    owner, holder = LeaseOwner(book), LeaseHolder()
    owner.join("w0")
    holder.replace_limited([KEY])
    holder.reserve("k1", "acme", units=1, cost_nano=0, now_s=NOW_S - 0.001)
    (ask,) = holder.outgoing()
    ((_, grant),) = owner.receive("w0", ask, NOW_S)
    ((_, reservation),) = holder.receive(grant, NOW_S - 0.001)
    assert isinstance(reservation, Reservation)
    assert reservation.at_s == NOW_S


def test_a_worker_knows_what_is_left_to_its_callers() -> None:
    world, random = World({KEY: Limits(rpm=40, upm=90), TENANT: Limits(rpm=1000)}, 2), Random(1)
    assert world.workers["w0"].standing("k1", "acme") == (None, None)
    for _ in range(3):
        world.ask("w0", units=10)
        world.deliver_all(random)
    requests, units = world.workers["w0"].standing("k1", "acme")
    assert requests is not None and requests[:2] == (40, 37)
    assert units is not None and units[:2] == (90, 60)

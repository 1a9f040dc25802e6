"""Limits of one process: granted up to the last one and never more, given back exactly, and told exactly."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.domain.quota import QuotaBook, Reservation, Spent
from modeltap.domain.quota_counters import Subject, month_of, month_start_s
from modeltap.domain.tenant import NANO, Limits
from modeltap.domain.usage import UsageRecord
from modeltap.errors import BudgetSpent, Conflict, LimitReached, RateLimited

KEY, TENANT = Subject("acme", "k1"), Subject("acme")
NOW_S = datetime(2026, 11, 22, 5, 6, 7, tzinfo=UTC).timestamp()


def book_of(key: Limits | None = None, tenant: Limits | None = None) -> QuotaBook:
    book = QuotaBook()
    book.set_limits(KEY, key or Limits())
    book.set_limits(TENANT, tenant or Limits())
    return book


def reserve(book: QuotaBook, now_s: float, units: int = 1, cost_nano: int = 0) -> Reservation:
    return book.reserve("k1", "acme", units=units, cost_nano=cost_nano, now_s=now_s)


def refused(book: QuotaBook, now_s: float, units: int = 1, cost_nano: int = 0) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        reserve(book, now_s, units, cost_nano)
    return caught.value


def test_exactly_the_limit_is_granted() -> None:
    book = book_of(Limits(rpm=100))
    for _ in range(100):
        reserve(book, NOW_S)
    told = refused(book, NOW_S)
    assert isinstance(told, RateLimited)
    assert told.limit == "rpm"
    assert "limit is 100 requests in any 60 s; 100 are used and 1 more" in told.message


def test_a_refused_request_counts_for_neither_the_key_nor_the_tenant() -> None:
    book = book_of(Limits(rpm=10), Limits(rpm=3))
    for _ in range(3):
        reserve(book, NOW_S)
    assert "the tenant's limit is 3" in refused(book, NOW_S).message
    requests, _ = book.standing("k1", "other", NOW_S)
    assert requests is not None and requests.remaining == 7


class Reference:
    """The same rules written plainly: every grant in a list."""

    def __init__(self, rpm: int, upm: int) -> None:
        self.rpm, self.upm = rpm, upm
        self.granted: list[list[float]] = []

    def fits(self, now_s: float, units: int) -> bool:
        recent = [grant for grant in self.granted if int(now_s) - int(grant[0]) <= 60]
        return sum(g[1] for g in recent) + 1 <= self.rpm and sum(g[2] for g in recent) + units <= self.upm

    def busiest(self) -> tuple[float, float]:
        """The most requests and the most units that any 60 seconds saw."""
        windows = [[g for g in self.granted if start[0] <= g[0] <= start[0] + 60] for start in self.granted]
        return (
            max((sum(g[1] for g in window) for window in windows), default=0),
            max((sum(g[2] for g in window) for window in windows), default=0),
        )


STEPS = st.lists(
    st.tuples(st.floats(0, 40), st.integers(1, 12), st.sampled_from(["keep", "settle", "void", "undo"]), st.integers(0, 12)),
    min_size=15,
    max_size=60,
)


@given(STEPS, st.integers(1, 8), st.integers(5, 40))
def test_no_60_seconds_ever_see_more_and_what_fits_is_granted(
    steps: list[tuple[float, int, str, int]], rpm: int, upm: int
) -> None:
    book, plain = book_of(Limits(rpm=rpm, upm=upm)), Reference(rpm, upm)
    now_s = NOW_S
    running: list[tuple[Reservation, list[float]]] = []
    for gap_s, units, end, used in steps:
        now_s += gap_s
        fits = plain.fits(now_s, units)
        try:
            reservation = reserve(book, now_s, units)
        except RateLimited as told:
            assert not fits
            if told.retry_after_s is None:
                assert units > upm
            else:
                moment_s = now_s + told.retry_after_s
                assert plain.fits(moment_s, units)
                assert not plain.fits(moment_s - 1, units)
        else:
            assert fits
            grant: list[float] = [now_s, 1, units]
            plain.granted.append(grant)
            running.append((reservation, grant))
        if end != "keep" and running:
            reservation, grant = running.pop(used % len(running))
            if end == "settle":
                grant[2] = min(used, grant[2])
                reservation.settle(units=int(grant[2]), cost_nano=0)
            elif end == "void":
                grant[2] = 0
                reservation.void()
            else:
                plain.granted.remove(grant)
                reservation.undo()
        requests, units_seen = plain.busiest()
        assert requests <= rpm
        assert units_seen <= upm


def test_the_wait_is_exact_to_the_second() -> None:
    book = book_of(Limits(rpm=2))
    reserve(book, NOW_S + 0.4)
    reserve(book, NOW_S + 10.9)
    wait_s = refused(book, NOW_S + 20.25).retry_after_s
    assert wait_s == 61 - 20.25
    assert refused(book, NOW_S + 60.9).retry_after_s is not None
    reserve(book, NOW_S + 61)
    assert refused(book, NOW_S + 61).retry_after_s == 10


def test_more_units_than_ever_fit_are_told_so() -> None:
    told = refused(book_of(Limits(upm=10)), NOW_S, units=11)
    assert told.retry_after_s is None
    assert told.message == "11 units are more than the key's limit of 10 in any 60 s; send fewer at a time"


def test_unused_units_come_back_and_a_request_does_not() -> None:
    book = book_of(Limits(rpm=2, upm=10))
    reserve(book, NOW_S, units=10).settle(units=4, cost_nano=0)
    assert refused(book, NOW_S, units=7).limit == "upm"
    reserve(book, NOW_S, units=6).void()
    assert refused(book, NOW_S, units=1).limit == "rpm"


def test_what_was_never_accepted_counts_nowhere() -> None:
    book = book_of(Limits(rpm=1, concurrency=1, budget_day_nano=5), Limits(rpm=1))
    reserve(book, NOW_S, cost_nano=5).undo()
    reserve(book, NOW_S, cost_nano=5)


def test_a_place_is_free_when_a_request_ends() -> None:
    book = book_of(Limits(concurrency=2))
    first, _ = reserve(book, NOW_S), reserve(book, NOW_S)
    told = refused(book, NOW_S)
    assert told.limit == "concurrency"
    assert told.retry_after_s == 1
    first.void()
    reserve(book, NOW_S)


def test_a_reservation_ends_once() -> None:
    reservation = reserve(book_of(Limits(concurrency=1)), NOW_S)
    reservation.settle(units=0, cost_nano=0)
    with pytest.raises(Conflict):
        reservation.void()


def test_more_than_was_reserved_is_never_settled() -> None:
    reservation = reserve(book_of(Limits(upm=5)), NOW_S, units=2, cost_nano=2)
    with pytest.raises(ValueError, match="more than"):
        reservation.settle(units=3, cost_nano=2)
    with pytest.raises(ValueError, match="more than"):
        reservation.settle(units=2, cost_nano=3)


def test_a_budget_is_spent_to_the_last_billionth_and_is_new_the_next_day() -> None:
    book = book_of(Limits(budget_day_nano=3 * NANO))
    reserve(book, NOW_S, cost_nano=2 * NANO).settle(units=1, cost_nano=NANO)
    reserve(book, NOW_S, cost_nano=2 * NANO)
    told = refused(book, NOW_S, cost_nano=1)
    assert isinstance(told, BudgetSpent)
    assert told.limit == "budget_day"
    assert "the key's budget of one day (UTC) is 3; 3 of it is used or reserved, and this request may cost 0.000000001" in (
        told.message
    )
    midnight_s = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    assert told.retry_after_s is not None and NOW_S + told.retry_after_s == midnight_s
    reserve(book, midnight_s, cost_nano=3 * NANO)


def test_a_month_ends_where_the_calendar_says() -> None:
    book = book_of(tenant=Limits(budget_month_nano=10))
    reserve(book, NOW_S, cost_nano=10)
    december_s = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    told = refused(book, NOW_S + 3 * 86_400, cost_nano=1)
    assert told.retry_after_s is not None and NOW_S + 3 * 86_400 + told.retry_after_s == december_s
    reserve(book, december_s, cost_nano=10)
    assert refused(book, december_s, cost_nano=11).retry_after_s is None


def test_money_comes_back_to_the_day_and_month_that_it_was_reserved_in() -> None:
    evening_s = datetime(2026, 11, 29, 23, 59, 59, tzinfo=UTC).timestamp()
    book = book_of(Limits(budget_day_nano=10, budget_month_nano=15))
    reservation = reserve(book, evening_s, cost_nano=10)
    reserve(book, evening_s + 2, cost_nano=5)
    assert refused(book, evening_s + 2, cost_nano=1).limit == "budget_month"
    reservation.settle(units=0, cost_nano=4)
    reserve(book, evening_s + 2, cost_nano=5)
    assert refused(book, evening_s + 2, cost_nano=1).limit == "budget_day"


@pytest.mark.parametrize("year", [1970, 1999, 2000, 2024, 2026, 2100])
def test_every_month_begins_with_its_first_day(year: int) -> None:
    for month in range(1, 13):
        first_s = datetime(year, month, 1, tzinfo=UTC).timestamp()
        day = int(first_s) // 86_400
        assert month_start_s(month_of(day)) == first_s
        assert month_of(day - 1) == month_of(day) - 1


def test_the_longest_wait_is_told() -> None:
    book = book_of(Limits(rpm=1, concurrency=1), Limits(budget_day_nano=1))
    reserve(book, NOW_S, cost_nano=1)
    assert refused(book, NOW_S, cost_nano=1).limit == "budget_day"
    assert refused(book, NOW_S, cost_nano=0).limit == "rpm"


def test_a_clock_that_goes_back_opens_no_window_twice() -> None:
    book = book_of(Limits(rpm=2))
    assert reserve(book, NOW_S).at_s == NOW_S
    assert reserve(book, NOW_S - 3_600).at_s == NOW_S
    refused(book, NOW_S - 3_600)
    reserve(book, NOW_S + 61)


def test_limits_change_while_it_runs_and_keep_what_was_counted() -> None:
    book = book_of(Limits(rpm=5))
    for _ in range(4):
        reserve(book, NOW_S)
    book.set_limits(KEY, Limits(rpm=4, upm=100))
    assert refused(book, NOW_S).limit == "rpm"
    book.set_limits(KEY, Limits())
    reserve(book, NOW_S)
    book.set_limits(KEY, Limits(upm=5))
    assert refused(book, NOW_S).limit == "upm"


def test_a_new_snapshot_replaces_all_limits_and_knows_what_was_spent_before() -> None:
    book = book_of(Limits(rpm=1), Limits(rpm=9))
    wanted = {KEY: Limits(rpm=1), Subject("acme", "k2"): Limits(budget_day_nano=10, budget_month_nano=30)}
    assert book.uncounted(wanted) == [Subject("acme", "k2")]
    book.replace_limits(wanted, {Subject("acme", "k2"): Spent(7, 29)}, NOW_S)
    assert book.uncounted(wanted) == []
    assert book.standing("unknown", "acme", NOW_S) == (None, None)
    with pytest.raises(BudgetSpent, match="month"):
        book.reserve("k2", "acme", units=1, cost_nano=2, now_s=NOW_S)
    book.reserve("k2", "acme", units=1, cost_nano=1, now_s=NOW_S)


def record(key: str, at_s: float, units: int) -> UsageRecord:
    return UsageRecord("w", 1, "r", "acme", key, "d", "m@1", "row", units, 0, at_s, 0, 0, "answered", "", "delivered")


def test_after_a_restart_the_window_holds_what_was_recorded() -> None:
    book = book_of(Limits(rpm=3), Limits(upm=10))
    book.restore([record("k1", NOW_S - 61, 9), record("k1", NOW_S - 60, 2), record("k2", NOW_S + 3_600, 5)], NOW_S)
    requests, units = book.standing("k1", "acme", NOW_S)
    assert requests is not None and (requests.remaining, requests.reset_s) == (2, 1)
    assert units is not None and (units.remaining, units.reset_s) == (3, 61)


def test_the_admin_key_of_the_home_has_no_limits() -> None:
    book = book_of(tenant=Limits(rpm=1))
    for _ in range(3):
        book.reserve("admin", "acme", units=1, cost_nano=0, now_s=NOW_S)
    assert book.standing("admin", "acme", NOW_S) == (None, None)


def test_a_caller_sees_the_tighter_of_its_own_and_its_tenants_limits() -> None:
    book = book_of(Limits(rpm=10, upm=10), Limits(rpm=5))
    reserve(book, NOW_S, units=8)
    requests, units = book.standing("k1", "acme", NOW_S + 2.5)
    assert requests == (5, 4, 58.5)
    assert units == (10, 2, 58.5)
    assert book.standing("k1", "acme", NOW_S + 61)[0] == (5, 5, 0)


def test_keys_that_are_idle_hold_no_windows() -> None:
    book = QuotaBook()
    for number in range(1000):
        book.set_limits(Subject("acme", f"k{number}"), Limits(rpm=5))
        book.reserve(f"k{number}", "acme", units=1, cost_nano=0, now_s=NOW_S).void()
    assert book.num_windows == 1000
    book.reserve("k1", "acme", units=1, cost_nano=0, now_s=NOW_S + 600)
    assert book.num_windows == 1


def test_a_request_that_runs_for_long_keeps_its_place() -> None:
    book = book_of(Limits(concurrency=1))
    running = reserve(book, NOW_S)
    assert refused(book, NOW_S + 10_000).limit == "concurrency"
    running.settle(units=1, cost_nano=0)
    reserve(book, NOW_S + 10_000)

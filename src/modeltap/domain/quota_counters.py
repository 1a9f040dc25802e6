"""What one subject, a key or a tenant, has used: two sliding windows, what runs now, what was spent this day and month."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from modeltap.domain.money import show_budget
from modeltap.domain.tenant import Limits
from modeltap.errors import BudgetSpent, LimitReached, RateLimited

WINDOW_S = 60
BUCKETS = WINDOW_S + 1
"""Buckets of a second each. A minute that begins within a second touches 61 of them, and all of those are counted."""
DAY_S = 86_400
UNLIMITED = 1 << 62
CONCURRENCY_RETRY_S = 1.0
"""When a place becomes free nobody knows; this is what a refused caller is told."""


class Subject(NamedTuple):
    """Whose limits: those of one key, or with `key` '' those of the whole tenant."""

    tenant: str
    key: str = ""

    @property
    def whose(self) -> str:
        """How a message begins that tells of its limits."""
        if not self.key:
            return "the tenant's"
        return "the public deployment's" if self.key.startswith("public:") else "the key's"


class Standing(NamedTuple):
    """One rate as its caller may see it. `reset_s`: until all of it may be used again."""

    limit: int
    remaining: int
    reset_s: float


class Shortage(NamedTuple):
    """One limit that a request does not fit in. `wait_s`: until it would; None never."""

    subject: Subject
    limit: str
    message: str
    wait_s: float | None


def month_of(day: int) -> int:
    """Months since the year 0 at the day that many days after 1970-01-01."""
    date = datetime.fromtimestamp(day * DAY_S, UTC)
    return date.year * 12 + date.month - 1


def month_start_s(month: int) -> int:
    """UTC seconds at which the month begins."""
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())


class Counters:
    """The counters of one subject. What was reserved counts as used until it is given back.

    The moment never goes back: where `second` is earlier than one seen before, the later one holds.
    """

    __slots__ = (
        "budget_day",
        "budget_month",
        "concurrency",
        "day",
        "day_nano",
        "in_flight",
        "month",
        "month_nano",
        "num_requests",
        "num_units",
        "requests",
        "rpm",
        "second",
        "slot",
        "subject",
        "units",
        "upm",
        "used",
    )

    def __init__(self, subject: Subject, limits: Limits, used: list[Counters]) -> None:
        """`used` gets this object when it begins to hold buckets."""
        self.subject = subject
        self.used = used
        self.requests: list[int] = []
        self.units: list[int] = []
        self.num_requests = self.num_units = self.in_flight = 0
        self.second = self.slot = -1
        self.day = self.month = -1
        self.day_nano = self.month_nano = 0
        self.set_limits(limits)

    def set_limits(self, limits: Limits) -> None:
        self.rpm = UNLIMITED if limits.rpm is None else limits.rpm
        self.upm = UNLIMITED if limits.upm is None else limits.upm
        self.concurrency = UNLIMITED if limits.concurrency is None else limits.concurrency
        self.budget_day = UNLIMITED if limits.budget_day_nano is None else limits.budget_day_nano
        self.budget_month = UNLIMITED if limits.budget_month_nano is None else limits.budget_month_nano

    @property
    def has_no_limit(self) -> bool:
        return self.rpm == self.upm == self.concurrency == self.budget_day == self.budget_month == UNLIMITED

    def fits(self, second: int, requests: int, units: int, nano: int) -> bool:
        """Whether this much more is within every limit, with one more request running."""
        if second > self.second:
            self.advance(second)
        return (
            self.num_requests + requests <= self.rpm
            and self.num_units + units <= self.upm
            and self.in_flight < self.concurrency
            and self.day_nano + nano <= self.budget_day
            and self.month_nano + nano <= self.budget_month
        )

    def take(self, requests: int, units: int, nano: int, slots: int = 1) -> None:
        """Counts it at the moment that `fits` was asked for."""
        slot = self.slot
        self.requests[slot] += requests
        self.num_requests += requests
        self.units[slot] += units
        self.num_units += units
        self.in_flight += slots
        self.day_nano += nano
        self.month_nano += nano

    def end(self, second: int, requests: int, units: int, nano: int) -> None:
        """One request ended that was counted at `second`; this much of it comes back."""
        self.in_flight -= 1
        if requests or units or nano:
            self.give_back(second, requests, units, nano)

    def give_back(self, second: int, requests: int, units: int, nano: int) -> None:
        """Uncounts it where it was counted: in that second, day and month, as far as they still matter."""
        if (requests or units) and self.requests and self.second - second < BUCKETS:
            slot = second % BUCKETS
            self.requests[slot] -= requests
            self.num_requests -= requests
            self.units[slot] -= units
            self.num_units -= units
        if nano:
            day = second // DAY_S
            if day == self.day:
                self.day_nano -= nano
            if day == self.day or month_of(day) == self.month:
                self.month_nano -= nano

    def recount(self, second: int, requests: int, units: int, now_second: int) -> None:
        """Counts what was used at an earlier second, as after a restart."""
        self.advance(now_second)
        second = min(second, self.second)
        if self.second - second < BUCKETS:
            slot = second % BUCKETS
            self.requests[slot] += requests
            self.num_requests += requests
            self.units[slot] += units
            self.num_units += units

    def advance(self, second: int) -> None:
        """What is older than the window is forgotten; a new day or month begins with nothing spent."""
        if not self.requests:
            self.requests, self.units = [0] * BUCKETS, [0] * BUCKETS
            self.used.append(self)
        gap = second - self.second
        if gap > 0:
            if gap >= BUCKETS or self.second < 0:
                self.requests[:] = self.units[:] = [0] * BUCKETS
                self.num_requests = self.num_units = 0
            elif self.num_requests or self.num_units:
                for moment in range(self.second + 1, second + 1):
                    slot = moment % BUCKETS
                    self.num_requests -= self.requests[slot]
                    self.num_units -= self.units[slot]
                    self.requests[slot] = self.units[slot] = 0
            self.second = second
            self.slot = second % BUCKETS
            if second // DAY_S != self.day:
                self._turn(second // DAY_S)

    def _turn(self, day: int) -> None:
        self.day = day
        self.day_nano = 0
        month = month_of(day)
        if month != self.month:
            self.month = month
            self.month_nano = 0

    def forget_window(self, second: int) -> bool:
        """Whether nothing runs and nothing is in the window; then its buckets are gone, and what was spent stays."""
        if self.in_flight or second - self.second < BUCKETS:
            return False
        self.requests, self.units = [], []
        self.num_requests = self.num_units = 0
        return True

    def requests_standing(self, now_s: float) -> Standing:
        """At the moment that `fits` was asked for, or later."""
        return self._standing(self.requests, self.num_requests, self.rpm, now_s)

    def units_standing(self, now_s: float) -> Standing:
        return self._standing(self.units, self.num_units, self.upm, now_s)

    def _standing(self, buckets: list[int], used: int, limit: int, now_s: float) -> Standing:
        if not used:
            return Standing(limit, limit, 0.0)
        newest = self.second
        while not buckets[newest % BUCKETS]:
            newest -= 1
        told = (limit, max(0, limit - used), until_s(newest + BUCKETS, now_s))
        return tuple.__new__(Standing, told)  # at every request, and several times as fast as Standing(…)

    def shortages(self, requests: int, units: int, nano: int, now_s: float) -> list[Shortage]:
        """Every limit that it does not fit in, at the moment that `fits` was asked for."""
        whose = self.subject.whose
        short = []
        for name, noun, buckets, used, more, limit in (
            ("rpm", "requests", self.requests, self.num_requests, requests, self.rpm),
            ("upm", "units", self.units, self.num_units, units, self.upm),
        ):
            if more > limit:
                text = f"{more:,} {noun} are more than {whose} limit of {limit:,} in any {WINDOW_S} s; send fewer at a time"
                short.append(Shortage(self.subject, name, text, None))
            elif used + more > limit:
                wait_s = self._wait_s(buckets, used + more - limit, now_s)
                text = (
                    f"{whose} limit is {limit:,} {noun} in any {WINDOW_S} s; {used:,} are used and {more:,} more were asked"
                    " for; wait until they fit, or have the limit raised"
                )
                short.append(Shortage(self.subject, name, text, wait_s))
        if self.in_flight >= self.concurrency:
            text = (
                f"{whose} limit is {self.concurrency:,} requests at a time, and {self.in_flight:,} are being answered;"
                " wait for one of them to end, or have the limit raised"
            )
            short.append(Shortage(self.subject, "concurrency", text, CONCURRENCY_RETRY_S))
        for name, period, spent, limit, ends_s in (
            ("budget_day", "day", self.day_nano, self.budget_day, (self.day + 1) * DAY_S),
            ("budget_month", "month", self.month_nano, self.budget_month, month_start_s(self.month + 1)),
        ):
            if spent + nano > limit:
                facts = f"{whose} budget of one {period} (UTC) is {show_budget(limit)}"
                asked = f"this request may cost {show_budget(nano)}"
                if nano > limit:
                    short.append(Shortage(self.subject, name, f"{facts}, and {asked}; have the budget raised", None))
                else:
                    text = (
                        f"{facts}; {show_budget(spent)} of it is used or reserved, and {asked}; wait for the next {period},"
                        " or have the budget raised"
                    )
                    short.append(Shortage(self.subject, name, text, until_s(ends_s, now_s)))
        return short

    def _wait_s(self, buckets: list[int], surplus: int, now_s: float) -> float:
        """Until enough has left the window."""
        oldest = self.second - WINDOW_S
        while True:
            surplus -= buckets[oldest % BUCKETS]
            if surplus <= 0:
                return until_s(oldest + BUCKETS, now_s)
            oldest += 1


def until_s(moment_s: int, now_s: float) -> float:
    """Seconds from now; added to now they are never a rounding error before the moment."""
    wait_s = max(0.0, moment_s - now_s)
    return wait_s if now_s + wait_s >= moment_s else wait_s + 1e-6


def limit_reached(shortages: list[Shortage]) -> LimitReached:
    """The error of the limit that lets the request wait longest."""
    _, limit, message, wait_s = max(shortages, key=lambda short: float("inf") if short.wait_s is None else short.wait_s)
    cls = BudgetSpent if limit.startswith("budget") else RateLimited
    return cls(message, limit=limit, retry_after_s=wait_s)

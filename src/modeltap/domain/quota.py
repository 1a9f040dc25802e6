"""Limits, kept exactly: what a request may use at the worst is reserved before it runs, and what it did not use is given back.

    reservation = book.reserve("key", "tenant", units=32, cost_nano=32_000, now_s=now_s)     or RateLimited, BudgetSpent
    reservation.settle(units=30, cost_nano=30_000)     it was answered
    reservation.void()                                 it was not; only the request itself stays counted
    reservation.undo()                                 it was never accepted

`now_s` is UTC and must not go back; where it does, the latest moment that was seen holds, so that no window ever has too much.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from modeltap.domain.quota_counters import (
    BUCKETS,
    DAY_S,
    UNLIMITED,
    Counters,
    Shortage,
    Standing,
    Subject,
    limit_reached,
    month_of,
)
from modeltap.domain.tenant import ADMIN_KEY_ID, Limits
from modeltap.domain.usage import UsageRecord
from modeltap.errors import Conflict

SWEEP_EVERY_S = 4 * BUCKETS
NO_LIMITS = Limits()


class Account(Protocol):
    """Where a reservation was taken from: the counters themselves, or what a worker leased of them."""

    def end(self, second: int, requests: int, units: int, nano: int) -> None:
        """One request ended that was counted at `second`; this much of it comes back."""


class Reservation:
    """What one request may use. Ends exactly once."""

    __slots__ = ("at_s", "cost_nano", "is_open", "key", "requests", "tenant", "units")

    def __init__(
        self, key: Account | None, tenant: Account | None, at_s: float, requests: int, units: int, cost_nano: int
    ) -> None:
        self.key = key
        self.tenant = tenant
        self.at_s = at_s
        """When it was counted: the moment at which the request was accepted."""
        self.requests = requests
        self.units = units
        self.cost_nano = cost_nano
        self.is_open = True

    def settle(self, *, units: int, cost_nano: int) -> None:
        """The rest comes back. Raises ValueError for more than was reserved, Conflict if it ended already."""
        if units > self.units or cost_nano > self.cost_nano:
            raise ValueError(f"{units} units for {cost_nano} are more than the {self.units} for {self.cost_nano} reserved")
        self._end(0, self.units - units, self.cost_nano - cost_nano)

    def void(self) -> None:
        """All comes back but the request, which was accepted. Raises Conflict if it ended already."""
        self._end(0, self.units, self.cost_nano)

    def undo(self) -> None:
        """All comes back, as if it had not been asked for. Raises Conflict if it ended already."""
        self._end(self.requests, self.units, self.cost_nano)

    def _end(self, requests: int, units: int, nano: int) -> None:
        if not self.is_open:
            raise Conflict("the reservation has ended already; it ends once")
        self.is_open = False
        second = int(self.at_s)
        if self.key is not None:
            self.key.end(second, requests, units, nano)
        if self.tenant is not None:
            self.tenant.end(second, requests, units, nano)


class Spent(msgspec.Struct, frozen=True):
    """Of budgets, in billionths: in the present day and in the present month."""

    day_nano: int = 0
    month_nano: int = 0


class QuotaBook:
    """The counters of every subject that has limits. Subjects without cost a dictionary's miss."""

    def __init__(self) -> None:
        self._keys: dict[str, Counters] = {}
        self._tenants: dict[str, Counters] = {}
        self._used: list[Counters] = []
        self._sweep_at = 0
        self._latest_s = 0.0

    def reserve(self, key: str, tenant: str, *, units: int, cost_nano: int, now_s: float, requests: int = 1) -> Reservation:
        """All of it is counted for the key and for its tenant, or none. The home's own admin key has no limits.

        Raises RateLimited, BudgetSpent for the limit that lets it wait longest.
        """
        if now_s < self._latest_s:
            now_s = self._latest_s
        else:
            self._latest_s = now_s
        of_key = self._keys.get(key)
        of_tenant = self._tenants.get(tenant) if key != ADMIN_KEY_ID else None
        if of_key is not None or of_tenant is not None:
            second = int(now_s)
            if second >= self._sweep_at:
                self._sweep(second)
            if (of_key is not None and not of_key.fits(second, requests, units, cost_nano)) or (
                of_tenant is not None and not of_tenant.fits(second, requests, units, cost_nano)
            ):
                raise limit_reached(shortages((of_key, of_tenant), requests, units, cost_nano, now_s))
            if of_key is not None:
                of_key.take(requests, units, cost_nano)
            if of_tenant is not None:
                of_tenant.take(requests, units, cost_nano)
        return Reservation(of_key, of_tenant, now_s, requests, units, cost_nano)

    def standing(self, key: str, tenant: str, now_s: float) -> tuple[Standing | None, Standing | None]:
        """Requests and units that are left to this key: of its own limits and its tenant's, the tighter one each."""
        second = self.second(now_s)
        by_requests: Counters | None = None
        by_units: Counters | None = None
        for counters in (self._keys.get(key), self._tenants.get(tenant) if key != ADMIN_KEY_ID else None):
            if counters is not None:
                if second > counters.second:
                    counters.advance(second)
                left = counters.rpm - counters.num_requests
                if counters.rpm != UNLIMITED and (by_requests is None or left < by_requests.rpm - by_requests.num_requests):
                    by_requests = counters
                left = counters.upm - counters.num_units
                if counters.upm != UNLIMITED and (by_units is None or left < by_units.upm - by_units.num_units):
                    by_units = counters
        return (
            None if by_requests is None else by_requests.requests_standing(now_s),
            None if by_units is None else by_units.units_standing(now_s),
        )

    def replace_limits(self, wanted: Mapping[Subject, Limits], spent: Mapping[Subject, Spent], now_s: float) -> None:
        """From now on these limits hold, and no others; what was counted stays counted.

        `spent` is read for those that were not counted until now, see `uncounted`.
        """
        fresh = set(self.uncounted(wanted))
        kept = {subject for subject, limits in wanted.items() if limits != NO_LIMITS}
        for counters in [*self._keys.values(), *self._tenants.values()]:
            if counters.subject not in kept:
                self.set_limits(counters.subject, NO_LIMITS)
        for subject in kept:
            self.set_limits(subject, wanted[subject])
            if subject in fresh and subject in spent:
                self.restore_spent(subject, spent[subject], now_s)

    def uncounted(self, wanted: Mapping[Subject, Limits]) -> list[Subject]:
        """Those of them whose budget begins to count now: what they spent before is for `replace_limits` to be told."""
        return [
            subject
            for subject, limits in wanted.items()
            if (limits.budget_day_nano is not None or limits.budget_month_nano is not None) and self.counters(subject) is None
        ]

    def set_limits(self, subject: Subject, limits: Limits) -> None:
        """From now on; what was counted stays counted, also without a limit until it does not matter any more."""
        table, name = self._table(subject), subject.key or subject.tenant
        found = table.get(name)
        if found is not None:
            found.set_limits(limits)
            if limits == NO_LIMITS and not found.requests:
                del table[name]
        elif limits != NO_LIMITS:
            table[name] = Counters(subject, limits, self._used)

    def restore(self, records: Iterable[UsageRecord], now_s: float, *, only: Collection[Subject] | None = None) -> None:
        """Counts again what was accepted within the last 61 seconds, as it was recorded, for all subjects or only for these.
        Budgets: see `restore_spent`."""
        now_second = self.second(now_s)
        for record in records:
            second = int(record.accepted_at_s)
            subjects = [Subject(record.tenant, record.key)]
            if record.key != ADMIN_KEY_ID:
                subjects.append(Subject(record.tenant))
            for subject in subjects:
                counters = self.counters(subject)
                if counters is not None and now_second - second < BUCKETS and (only is None or subject in only):
                    counters.recount(second, 1, record.units, now_second)

    def restore_spent(self, subject: Subject, spent: Spent, now_s: float) -> None:
        """Adds what was spent in the day and in the month of `now_s`."""
        counters = self.counters(subject)
        if counters is not None:
            counters.advance(self.second(now_s))
            day = int(now_s) // DAY_S
            counters.day_nano += spent.day_nano if day == counters.day else 0
            counters.month_nano += spent.month_nano if month_of(day) == counters.month else 0

    def counters(self, subject: Subject) -> Counters | None:
        """None where the subject has no limits."""
        return self._table(subject).get(subject.key or subject.tenant)

    @property
    def num_windows(self) -> int:
        """Of subjects that were used lately; all others hold no buckets."""
        return len(self._used)

    def second(self, now_s: float) -> int:
        """The second at which things are counted now: that of the latest moment, which this may be."""
        if now_s > self._latest_s:
            self._latest_s = now_s
        return int(self._latest_s)

    def _table(self, subject: Subject) -> dict[str, Counters]:
        return self._keys if subject.key else self._tenants

    def _sweep(self, second: int) -> None:
        self._sweep_at = second + SWEEP_EVERY_S
        kept = []
        for counters in self._used:
            if not counters.forget_window(second):
                kept.append(counters)
            elif counters.has_no_limit:
                del self._table(counters.subject)[counters.subject.key or counters.subject.tenant]
        self._used[:] = kept


def shortages(of: Iterable[Counters | None], requests: int, units: int, nano: int, now_s: float) -> list[Shortage]:
    """Every limit of these that it does not fit in."""
    second = int(now_s)
    found: list[Shortage] = []
    for counters in of:
        if counters is not None:
            if second > counters.second:
                counters.advance(second)
            found += counters.shortages(requests, units, nano, now_s)
    return found

"""What a worker was leased of one subject's limits and has not used."""

from __future__ import annotations

from collections.abc import Callable

from modeltap.domain.quota_counters import DAY_S, UNLIMITED, Standing, Subject
from modeltap.domain.quota_lease import Lease, Return


class Held:
    """What is leased of one subject and not used. What is not limited is UNLIMITED here, and never given back."""

    __slots__ = (
        "day",
        "freed",
        "is_bare",
        "is_current",
        "nano",
        "of_requests",
        "of_units",
        "old_money",
        "old_rates",
        "outbox",
        "requests",
        "second",
        "slots",
        "subject",
        "terms",
        "units",
        "used_second",
    )

    def __init__(self, subject: Subject, outbox: dict[Held, None], freed: Callable[[], None]) -> None:
        """`outbox` gets this object when it has to give something back; `freed` is called when that is the place of a request
        that ended: whoever got its answer may ask another worker next."""
        self.subject = subject
        self.outbox = outbox
        self.freed = freed
        self.terms = (False, False, False, False)
        """Whether requests, units, places and money are limited."""
        self.is_bare = True
        """Nothing was granted since all was given back: whatever comes free goes back too."""
        self.is_current = True
        """False once another object took its place; it lives on for what was reserved from it."""
        self.second = self.day = self.used_second = -1
        self.requests = self.units = self.slots = self.nano = 0
        self.old_rates: dict[int, list[int]] = {}
        self.old_money: dict[int, int] = {}
        self.of_requests: Standing | None = None
        self.of_units: Standing | None = None

    def fits(self, second: int, requests: int, units: int, nano: int) -> bool:
        if second != self.second:
            self.turn(second)
        return requests <= self.requests and units <= self.units and self.slots > 0 and nano <= self.nano and not self.is_bare

    def take(self, requests: int, units: int, nano: int) -> None:
        self.requests -= requests
        self.units -= units
        self.slots -= 1
        self.nano -= nano
        self.used_second = self.second

    def end(self, second: int, requests: int, units: int, nano: int) -> None:
        """One request ended that was counted at `second`; this much of it comes back."""
        self.slots += 1
        if requests or units:
            if second == self.second:
                self.requests += requests
                self.units += units
            else:
                self._keep_old(second, requests, units)
        if nano:
            day = second // DAY_S
            if day == self.day:
                self.nano += nano
            else:
                self._keep_old_money(day, nano)
        if self.is_bare:
            self.outbox[self] = None
            if self.terms[2]:
                self.freed()

    def retire(self) -> None:
        """Another object takes its place: what is unused goes back, and so will what is reserved now."""
        self.is_current = False
        self.is_bare = True
        self.outbox[self] = None

    def recall(self) -> None:
        """All that is unused goes back."""
        self.is_bare = True
        self.outbox[self] = None

    def add(self, lease: Lease, second: int) -> None:
        """`second`: for which it was granted."""
        if second > self.second:
            self.turn(second)
        if second == self.second:
            self.requests += lease.requests or 0
            self.units += lease.units or 0
        else:
            self._keep_old(second, lease.requests or 0, lease.units or 0)
        self.slots += lease.slots or 0
        if lease.nano and second // DAY_S == self.day:
            self.nano += lease.nano
        elif lease.nano:
            self._keep_old_money(second // DAY_S, lease.nano)
        self.used_second = self.second
        self.of_requests, self.of_units = lease.of_requests, lease.of_units
        self.is_bare = False

    def turn(self, second: int) -> None:
        """Requests and units that were leased for an earlier second are of no use any more, nor is money of an earlier day."""
        if second < self.second:
            return
        by_requests, by_units, _, by_money = self.terms
        if (self.requests and by_requests) or (self.units and by_units):
            self._keep_old(self.second, self.requests, self.units)
        self.requests = 0 if by_requests else UNLIMITED
        self.units = 0 if by_units else UNLIMITED
        self.second = second
        if second // DAY_S != self.day:
            self._keep_old_money(self.day, self.nano)
            self.nano = 0 if by_money else UNLIMITED
            self.day = second // DAY_S

    def set_terms(self, terms: tuple[bool, bool, bool, bool], second: int) -> None:
        """Of an object that holds nothing yet."""
        self.terms = terms
        self.slots = 0 if terms[2] else UNLIMITED
        self.turn(second)

    def give_back(self, *, everything: bool) -> Return | None:
        """What is to be sent of it, which is then no longer here; None if it is nothing."""
        by_requests, by_units, by_slots, by_money = self.terms
        if everything:
            self.is_bare = True
            if (by_requests and self.requests) or (by_units and self.units):
                self._keep_old(self.second, self.requests, self.units)
            self.requests = 0 if by_requests else UNLIMITED
            self.units = 0 if by_units else UNLIMITED
            self._keep_old_money(self.day, self.nano)
            self.nano = 0 if by_money else UNLIMITED
        slots = 0
        if everything and by_slots:
            slots, self.slots = self.slots, 0
        if not (everything or self.old_rates or self.old_money):
            return None
        rates = tuple((second, requests, units) for second, (requests, units) in self.old_rates.items())
        money = tuple(self.old_money.items())
        self.old_rates, self.old_money = {}, {}
        return Return(self.subject, everything and self.is_current, slots, rates, money)

    def _keep_old(self, second: int, requests: int, units: int) -> None:
        by_requests, by_units, _, _ = self.terms
        old = self.old_rates.setdefault(second, [0, 0])
        old[0] += requests if by_requests else 0
        old[1] += units if by_units else 0

    def _keep_old_money(self, day: int, nano: int) -> None:
        if nano and self.terms[3]:
            self.old_money[day] = self.old_money.get(day, 0) + nano

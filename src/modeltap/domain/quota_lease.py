"""Limits that several workers keep together: the owner of the counters leases amounts of them, and gets back what is not used.

    Ask       worker → owner    a request needs this much; what the worker held unused of its key and tenant comes along
    Grant     owner → worker    at least as much, for both
    Refusal   owner → worker    there is not as much, here or at any other worker
    Recall    owner → worker    give back what is unused: another worker is short of it
    GiveBack  worker → owner    what is unused; also without being asked

What is leased counts as used, so no limit is ever passed; before anything is refused, all that is unused is called back, so
every limit is reached. Requests and units are leased for the present second and count in it. Between one worker and the owner
messages keep their order; nothing else is assumed of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from modeltap.domain.quota import QuotaBook, Spent, shortages
from modeltap.domain.quota_counters import DAY_S, UNLIMITED, Counters, Standing, Subject, limit_reached, month_of
from modeltap.errors import BudgetSpent, LimitReached, RateLimited

RECALL_WAIT_S = 1.0
"""A worker that does not answer for so long is taken to have used what it holds. One that died is known at once; one that lives
may wait for a processor, or read a large body."""


class Return(msgspec.Struct, frozen=True, array_like=True):
    """What a worker gives back of one subject."""

    subject: Subject
    is_all: bool
    """It holds nothing unused of it any more."""
    slots: int
    rates: tuple[tuple[int, int, int], ...]
    """(second, requests, units)"""
    money: tuple[tuple[int, int], ...]
    """(day, billionths)"""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    number: int
    seen: int
    """The last grant that the worker had when it wrote this."""
    key: str
    tenant: str
    requests: int
    units: int
    nano: int
    returns: tuple[Return, ...]


class GiveBack(msgspec.Struct, frozen=True, array_like=True, tag="give-back"):
    seen: int
    returns: tuple[Return, ...]


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """Amounts of one subject; None is not limited."""

    subject: Subject
    requests: int | None
    units: int | None
    slots: int | None
    nano: int | None
    of_requests: Standing | None
    of_units: Standing | None


class Grant(msgspec.Struct, frozen=True, array_like=True, tag="grant"):
    """Requests and units may be used within `second`, money within its day. A subject without a lease has no limits."""

    seq: int
    number: int
    second: int
    leases: tuple[Lease, ...]


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag="refusal"):
    number: int
    limit: str
    message: str
    retry_after_s: float | None
    until_s: float
    """Until then the owner's answer to the same question would be the same."""

    def error(self) -> LimitReached:
        cls = BudgetSpent if self.limit.startswith("budget") else RateLimited
        return cls(self.message, limit=self.limit, retry_after_s=self.retry_after_s)


class Recall(msgspec.Struct, frozen=True, array_like=True, tag="recall"):
    subject: Subject


FromWorker = Ask | GiveBack
FromOwner = Grant | Refusal | Recall


class _Money:
    """What a worker was leased of a subject's budgets, less what it gave back: used, or unused, or lost with it."""

    __slots__ = ("day", "day_nano", "month", "month_nano")

    def __init__(self) -> None:
        self.day = self.month = -1
        self.day_nano = self.month_nano = 0

    def add(self, day: int, nano: int) -> None:
        if day != self.day:
            self.day, self.day_nano = day, 0
            if month_of(day) != self.month:
                self.month, self.month_nano = month_of(day), 0
        self.day_nano += nano
        self.month_nano += nano

    def give_back(self, day: int, nano: int) -> None:
        if day == self.day:
            self.day_nano -= nano
        if day == self.day or month_of(day) == self.month:
            self.month_nano -= nano


class _Worker:
    def __init__(self) -> None:
        self.seq = 0
        self.leased: dict[Subject, int] = {}
        """Number of the last grant of a subject; absent once the worker said that it holds nothing unused of it."""
        self.recalled: set[Subject] = set()
        self.slots: dict[Subject, int] = {}
        self.money: dict[Subject, _Money] = {}


class _Pending:
    """A question that waits for what was called back."""

    def __init__(self, worker: str, ask: Ask, since_s: float) -> None:
        self.worker = worker
        self.ask = ask
        self.since_s = since_s


Outgoing = list[tuple[str, FromOwner]]
"""(worker, message)"""


class LeaseOwner:
    """Holds the book; the workers are named by whoever carries the messages. No method blocks; each returns what to send."""

    def __init__(self, book: QuotaBook) -> None:
        self._book = book
        self._workers: dict[str, _Worker] = {}
        self._lost: dict[str, dict[Subject, _Money]] = {}
        self._pending: list[_Pending] = []

    def join(self, worker: str) -> None:
        """A worker started; its name is new."""
        self._workers[worker] = _Worker()

    def receive(self, worker: str, message: FromWorker, now_s: float) -> Outgoing:
        """What follows from a worker's message. One of a worker that was given up for lost changes nothing."""
        of_worker = self._workers.get(worker)
        if of_worker is None:
            return []
        for returned in message.returns:
            self._credit(of_worker, returned, message.seen, now_s)
        if isinstance(message, Ask):
            self._pending.append(_Pending(worker, message, now_s))
        return self._decide(now_s) if self._pending else []

    def tick(self, now_s: float) -> Outgoing:
        """To be called a few times a second: who waits for a worker that does not answer waits no longer."""
        return self._decide(now_s) if self._pending else []

    def recall(self, subject: Subject) -> Outgoing:
        """To be sent after its limits changed, so that every worker asks anew and learns of it."""
        return [(name, Recall(subject)) for name in self._workers]

    def lose(self, worker: str, now_s: float) -> Outgoing:
        """The worker died. What it was answering is free again; rates age out; money waits for `settle_lost`."""
        lost = self._workers.pop(worker)
        self._lost[worker] = lost.money
        for subject, slots in lost.slots.items():
            counters = self._book.counters(subject)
            if counters is not None:
                counters.in_flight -= slots
        self._pending = [pending for pending in self._pending if pending.worker != worker]
        return self._decide(now_s)

    def settle_lost(self, worker: str, spent: Mapping[Subject, Spent], now_s: float) -> None:
        """Frees the money that a lost worker was leased and did not spend, by all of its records in this day and month."""
        today = int(now_s) // DAY_S
        for subject, money in self._lost.pop(worker, {}).items():
            counters = self._book.counters(subject)
            used = spent.get(subject, Spent())
            if counters is not None:
                if money.day == today == counters.day:
                    counters.day_nano -= max(0, money.day_nano - used.day_nano)
                if money.month == month_of(today) == counters.month:
                    counters.month_nano -= max(0, money.month_nano - used.month_nano)

    def _credit(self, worker: _Worker, returned: Return, seen: int, now_s: float) -> None:
        subject = returned.subject
        if returned.is_all and worker.leased.get(subject, 0) <= seen:
            worker.leased.pop(subject, None)
            worker.recalled.discard(subject)
        counters = self._book.counters(subject)
        held = worker.slots.get(subject, 0)
        slots = min(held, returned.slots)
        if slots:
            worker.slots[subject] = held - slots
        for day, nano in returned.money:
            if subject in worker.money:
                worker.money[subject].give_back(day, nano)
        if counters is None:
            return
        counters.advance(self._book.second(now_s))
        counters.in_flight -= slots
        for second, requests, units in returned.rates:
            counters.give_back(second, requests, units, 0)
        for day, nano in returned.money:
            counters.give_back(day * DAY_S, 0, 0, nano)

    def _decide(self, now_s: float) -> Outgoing:
        """Questions in the order in which they came; one that waits holds up those after it that share a subject with it."""
        out: Outgoing = []
        waiting: list[_Pending] = []
        blocked: set[Subject] = set()
        second = self._book.second(now_s)
        for pending in self._pending:
            ask = pending.ask
            limited = [found for found in self._counters(ask) if found is not None]
            subjects = {counters.subject for counters in limited}
            if subjects & blocked:
                waiting.append(pending)
            elif all(counters.fits(second, ask.requests, ask.units, ask.nano) for counters in limited):
                out.append((pending.worker, self._grant(pending, limited, second, now_s)))
                continue
            else:
                recalls = self._recalls(pending, limited, now_s)
                if recalls is None:
                    out.append((pending.worker, self._refusal(pending, limited, now_s)))
                    continue
                out += recalls
                waiting.append(pending)
            blocked |= subjects
        self._pending = waiting
        return out

    def _counters(self, ask: Ask) -> tuple[Counters | None, Counters | None]:
        return self._book.counters(Subject(ask.tenant, ask.key)), self._book.counters(Subject(ask.tenant))

    def _recalls(self, pending: _Pending, limited: list[Counters], now_s: float) -> Outgoing | None:
        """What to call back for it, [] while that is on its way; None if there is nothing that could come, or not in time."""
        ask = pending.ask
        found = shortages(limited, ask.requests, ask.units, ask.nano, now_s)
        short = {shortage.subject for shortage in found}
        holding = [(name, subject) for subject in short for name, worker in self._workers.items() if subject in worker.leased]
        if any(shortage.wait_s is None for shortage in found) or not holding or now_s - pending.since_s >= RECALL_WAIT_S:
            return None
        out: Outgoing = []
        for name, subject in holding:
            if subject not in self._workers[name].recalled:
                self._workers[name].recalled.add(subject)
                out.append((name, Recall(subject)))
        return out

    def _refusal(self, pending: _Pending, limited: list[Counters], now_s: float) -> Refusal:
        ask = pending.ask
        error = limit_reached(shortages(limited, ask.requests, ask.units, ask.nano, now_s))
        until_s = now_s
        if error.limit == "rpm" and error.retry_after_s is not None and now_s - pending.since_s < RECALL_WAIT_S:
            until_s += error.retry_after_s  # of requests nothing comes back before
        return Refusal(ask.number, error.limit, error.message, error.retry_after_s, until_s)

    def _grant(self, pending: _Pending, limited: list[Counters], second: int, now_s: float) -> Grant:
        ask = pending.ask
        worker = self._workers[pending.worker]
        worker.seq += 1
        leases = []
        for counters in limited:
            subject = counters.subject
            lease = self._lease(counters, ask, now_s)
            leases.append(lease)
            worker.leased[subject] = worker.seq
            worker.recalled.discard(subject)
            if lease.slots:
                worker.slots[subject] = worker.slots.get(subject, 0) + lease.slots
            if lease.nano:
                worker.money.setdefault(subject, _Money()).add(counters.day, lease.nano)
        return Grant(worker.seq, ask.number, second, tuple(leases))

    def _lease(self, counters: Counters, ask: Ask, now_s: float) -> Lease:
        """Takes what was asked for, or more while there is much."""
        parts = 2 * len(self._workers)
        requests = _share(counters.rpm, counters.num_requests, ask.requests, parts)
        units = _share(counters.upm, counters.num_units, ask.units, parts)
        slots = _share(counters.concurrency, counters.in_flight, 1, parts)
        shares = [
            _share(counters.budget_day, counters.day_nano, ask.nano, parts),
            _share(counters.budget_month, counters.month_nano, ask.nano, parts),
        ]
        nano = min((share for share in shares if share is not None), default=None)
        counters.take(requests or 0, units or 0, nano or 0, slots or 0)
        of_requests = None if requests is None else counters.requests_standing(now_s)
        of_units = None if units is None else counters.units_standing(now_s)
        return Lease(counters.subject, requests, units, slots, nano, of_requests, of_units)


def _share(limit: int, used: int, need: int, parts: int) -> int | None:
    """None where there is no limit."""
    return None if limit == UNLIMITED else max(need, (limit - used) // parts)

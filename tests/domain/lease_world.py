"""One owner and its workers with messages under way: those of one worker keep their order, of different workers they do not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import msgspec

from modeltap.domain.quota import QuotaBook, Reservation, Spent
from modeltap.domain.quota_counters import DAY_S, Subject, month_of
from modeltap.domain.quota_holder import LeaseHolder, Waiting
from modeltap.domain.quota_lease import FromOwner, FromWorker, LeaseOwner
from modeltap.domain.tenant import Limits
from modeltap.errors import LimitReached

NOW_S = 1_795_323_967.0
NEW_YEARS_EVE_S = datetime(2026, 12, 31, 23, 59, 20, tzinfo=UTC).timestamp()
KEY, TENANT = Subject("acme", "k1"), Subject("acme")
TO_OWNER = msgspec.msgpack.Decoder(FromWorker)
TO_WORKER = msgspec.msgpack.Decoder(FromOwner)


@dataclass(eq=False)
class Request:
    """A caller; `outcome` comes when its worker has decided."""

    worker: str
    key: str
    units: int
    cost_nano: int
    outcome: Reservation | Exception | None = None
    used_units: int = 0
    used_nano: int = 0

    @property
    def granted(self) -> Reservation | None:
        return self.outcome if isinstance(self.outcome, Reservation) else None


@dataclass
class World:
    """Messages are bytes between calls, as on a socket."""

    limits: Mapping[Subject, Limits]
    num_workers: int
    now_s: float = NOW_S
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.book = QuotaBook()
        self.book.replace_limits(self.limits, {}, self.now_s)
        self.owner = LeaseOwner(self.book)
        self.workers: dict[str, LeaseHolder] = {}
        self.up: dict[str, deque[bytes]] = {}
        self.down: dict[str, deque[bytes]] = {}
        self.waiting: dict[Waiting, Request] = {}
        for number in range(self.num_workers):
            self.start(f"w{number}")

    def start(self, name: str) -> None:
        self.owner.join(name)
        self.workers[name] = LeaseHolder()
        self.workers[name].replace_limited([s for s, limits in self.limits.items() if limits != Limits()])
        self.up[name], self.down[name] = deque(), deque()

    def ask(self, worker: str, key: str = "k1", units: int = 1, cost_nano: int = 0) -> Request:
        request = Request(worker, key, units, cost_nano, used_units=units, used_nano=cost_nano)
        self.requests.append(request)
        try:
            found = self.workers[worker].reserve(key, "acme", units=units, cost_nano=cost_nano, now_s=self.now_s)
        except LimitReached as told:
            request.outcome = told
            return request
        if isinstance(found, Reservation):
            request.outcome = found
        else:
            self.waiting[found] = request
        self._send(worker)
        return request

    def end(self, request: Request, units: int, cost_nano: int) -> None:
        """It was answered, and used this much."""
        assert request.granted is not None
        request.used_units, request.used_nano = units, cost_nano
        request.granted.settle(units=units, cost_nano=cost_nano)
        self._send(request.worker)

    def kill(self, worker: str) -> None:
        """All that it knew is gone; what it had sent still arrives."""
        while self.up[worker]:
            self.deliver_up(worker)
        del self.workers[worker], self.up[worker], self.down[worker]
        self.waiting = {waiting: request for waiting, request in self.waiting.items() if request.worker != worker}
        self.tell(self.owner.lose(worker, self.now_s))

    def settle_dead(self, worker: str) -> None:
        """What its records say is spent; the rest is free."""
        today, month = int(self.now_s) // DAY_S, month_of(int(self.now_s) // DAY_S)
        spent: dict[Subject, Spent] = {}
        for request in self.requests:
            if request.worker == worker and request.granted is not None and not request.granted.is_open:
                day = int(request.granted.at_s) // DAY_S
                for subject in (Subject("acme", request.key), Subject("acme")):
                    before = spent.get(subject, Spent())
                    spent[subject] = Spent(
                        before.day_nano + request.used_nano * (day == today),
                        before.month_nano + request.used_nano * (month_of(day) == month),
                    )
        self.owner.settle_lost(worker, spent, self.now_s)

    def tick(self) -> None:
        for name, holder in self.workers.items():
            holder.tick(self.now_s)
            self._send(name)
        self.tell(self.owner.tick(self.now_s))

    def deliver_up(self, worker: str) -> None:
        message = TO_OWNER.decode(self.up[worker].popleft())
        self.tell(self.owner.receive(worker, message, self.now_s))

    def deliver_down(self, worker: str) -> None:
        message = TO_WORKER.decode(self.down[worker].popleft())
        for waiting, outcome in self.workers[worker].receive(message, self.now_s):
            self.waiting.pop(waiting).outcome = outcome
        self._send(worker)

    def deliver_one(self, random: Random) -> bool:
        """One message that is first in its line, any of them; whether there was one."""
        lines: list[tuple[Callable[[str], None], str]] = []
        for name in self.workers:
            lines += [(self.deliver_up, name)] if self.up[name] else []
            lines += [(self.deliver_down, name)] if self.down[name] else []
        if not lines:
            return False
        deliver, name = random.choice(lines)
        deliver(name)
        return True

    def deliver_all(self, random: Random) -> None:
        while self.deliver_one(random):
            pass

    def granted(self) -> list[Request]:
        return [request for request in self.requests if request.granted is not None]

    def _send(self, worker: str) -> None:
        self.up[worker] += map(msgspec.msgpack.encode, self.workers[worker].outgoing())

    def tell(self, outgoing: list[tuple[str, FromOwner]]) -> None:
        for worker, message in outgoing:
            if worker in self.down:
                self.down[worker].append(msgspec.msgpack.encode(message))


def check_windows(requests: list[Request], limits: Limits) -> None:
    """No 60 seconds saw more than the limits, by the times at which requests were really accepted."""
    uses = sorted((request.granted.at_s, request.used_units) for request in requests if request.granted is not None)
    for index, (start_s, _) in enumerate(uses):
        window = [units for at_s, units in uses[index:] if at_s <= start_s + 60]
        assert limits.rpm is None or len(window) <= limits.rpm
        assert limits.upm is None or sum(window) <= limits.upm


def check_now(world: World, requests: list[Request], limits: Limits) -> None:
    """Nothing runs, or is spent or reserved, beyond the limits."""
    live = [r for r in requests if r.granted and r.granted.is_open and r.worker in world.workers]
    assert limits.concurrency is None or len(live) <= limits.concurrency
    days: dict[int, int] = {}
    months: dict[int, int] = {}
    for request in requests:
        assert request.granted
        nano = request.used_nano if not request.granted.is_open else request.cost_nano if request in live else 0
        day = int(request.granted.at_s) // DAY_S
        days[day] = days.get(day, 0) + nano
        months[month_of(day)] = months.get(month_of(day), 0) + nano
    assert limits.budget_day_nano is None or all(nano <= limits.budget_day_nano for nano in days.values())
    assert limits.budget_month_nano is None or all(nano <= limits.budget_month_nano for nano in months.values())

"""A worker's side of shared limits: reserves from what it leased, asks the owner for more, gives back what it does not need.

found = holder.reserve("key", "tenant", units=32, cost_nano=32_000, now_s=now_s)     a Reservation, or a Waiting
for waiting, outcome in holder.receive(message, now_s): …                            a Reservation, or the LimitReached
send(holder.outgoing())                                                              after every call, in order
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Container

from modeltap.domain.quota import Reservation
from modeltap.domain.quota_counters import Standing, Subject
from modeltap.domain.quota_held import Held
from modeltap.domain.quota_lease import Ask, FromOwner, FromWorker, GiveBack, Grant, Lease, Recall, Refusal
from modeltap.domain.tenant import ADMIN_KEY_ID
from modeltap.errors import LimitReached, Overloaded, RateLimited

MAX_ASKS = 5
"""For one request. Leases of rates that arrive in a later second are of no use; so many of them in a row are a broken clock or
an owner that is far too slow."""
IDLE_S = 1


class Waiting:
    """A request that needs more than the worker holds. It is decided when messages come."""

    __slots__ = ("asks", "cost_nano", "key", "requests", "tenant", "units")

    def __init__(self, key: str, tenant: str, requests: int, units: int, cost_nano: int) -> None:
        self.key = key
        self.tenant = tenant
        self.requests = requests
        self.units = units
        self.cost_nano = cost_nano
        self.asks = 0

    @property
    def subjects(self) -> tuple[Subject, Subject]:
        return Subject(self.tenant, self.key), Subject(self.tenant)

    def needs_as_much_as(self, other: Waiting) -> bool:
        return self.requests >= other.requests and self.units >= other.units and self.cost_nano >= other.cost_nano


Outcomes = list[tuple[Waiting, Reservation | LimitReached | Overloaded]]


class LeaseHolder:
    """One worker's leases. Messages must be sent in the order of `outgoing`, and received in the order they were sent."""

    def __init__(self, freed: Callable[[], None] = lambda: None) -> None:
        """`freed` is called when a place that others may wait for is to be sent, also between two calls."""
        self._freed = freed
        self._keys: dict[str, Held] = {}
        self._tenants: dict[str, Held] = {}
        self._queues: dict[tuple[str, str], deque[Waiting]] = {}
        self._asked: dict[int, Waiting] = {}
        self._refused: dict[tuple[str, str], Refusal] = {}
        self._leased: dict[Held, None] = {}
        """Where something was granted that was not given back yet."""
        self._outbox: dict[Held, None] = {}
        self._outgoing: list[FromWorker] = []
        self._num_asks = 0
        self._seen = 0
        self._latest_s = 0.0

    def replace_limited(self, subjects: Collection[Subject]) -> None:
        """Whose limits hold from now on; what they are the owner knows."""
        wanted = set(subjects)
        for table in (self._keys, self._tenants):
            for name, held in list(table.items()):
                if held.subject not in wanted:
                    held.retire()
                    del table[name]
                wanted.discard(held.subject)
        for subject in wanted:
            self._put(Held(subject, self._outbox, self._freed))

    def reserve(
        self, key: str, tenant: str, *, units: int, cost_nano: int, now_s: float, requests: int = 1
    ) -> Reservation | Waiting:
        """Counted, or waiting for the owner's answer. Raises RateLimited while the owner's last answer still holds."""
        now_s = self._now(now_s)
        second = int(now_s)
        of_key = self._keys.get(key)
        of_tenant = self._tenants.get(tenant) if key != ADMIN_KEY_ID else None
        if (of_key is None or of_key.fits(second, requests, units, cost_nano)) and (
            of_tenant is None or of_tenant.fits(second, requests, units, cost_nano)
        ):
            if of_key is not None:
                of_key.take(requests, units, cost_nano)
            if of_tenant is not None:
                of_tenant.take(requests, units, cost_nano)
            return Reservation(of_key, of_tenant, now_s, requests, units, cost_nano)
        return self._wait(Waiting(key, tenant, requests, units, cost_nano), now_s)

    def receive(self, message: FromOwner, now_s: float) -> Outcomes:
        """What became of those who waited."""
        if isinstance(message, Grant):
            now_s = max(now_s, message.second)  # the owner's clock may be ahead by a hair
        now_s = self._now(now_s)
        if isinstance(message, Grant):
            return self._granted(message, now_s)
        if isinstance(message, Refusal):
            return self._was_refused(message, now_s)
        self._recalled(message)
        return []

    def give_up(self, waiting: Waiting) -> None:
        """Nobody waits for it any more, if it still waits."""
        queue = self._queues.get((waiting.key, waiting.tenant))
        if queue is not None and waiting in queue:
            queue.remove(waiting)

    def tick(self, now_s: float) -> None:
        """To be called a few times a second: what became useless or was not used for a second is given back."""
        now_s = self._now(now_s)
        second = int(now_s)
        for held in list(self._leased):
            if held.is_bare:
                del self._leased[held]
                continue
            if second != held.second:
                held.turn(second)
            held.is_bare = second - held.used_second > IDLE_S
            if held.is_bare or held.old_rates or held.old_money:
                self._outbox[held] = None
        for pair in [pair for pair, refusal in self._refused.items() if refusal.until_s <= now_s]:
            del self._refused[pair]

    def outgoing(self) -> list[FromWorker]:
        """What is to be sent to the owner now."""
        returns = [found for held in self._outbox if (found := held.give_back(everything=held.is_bare)) is not None]
        self._outbox.clear()
        messages, self._outgoing = self._outgoing, []
        if returns:
            messages.append(GiveBack(self._seen, tuple(returns)))
        return messages

    def standing(self, key: str, tenant: str) -> tuple[Standing | None, Standing | None]:
        """Requests and units that are left to this key, as the owner said last, less what this worker used since."""
        requests: Standing | None = None
        units: Standing | None = None
        for held in (self._keys.get(key), self._tenants.get(tenant) if key != ADMIN_KEY_ID else None):
            if held is not None:
                requests = _tighter(requests, held.of_requests, held.requests)
                units = _tighter(units, held.of_units, held.units)
        return requests, units

    def _now(self, now_s: float) -> float:
        self._latest_s = max(self._latest_s, now_s)
        return self._latest_s

    def _put(self, held: Held) -> None:
        table = self._keys if held.subject.key else self._tenants
        table[held.subject.key or held.subject.tenant] = held

    def _find(self, subject: Subject) -> Held | None:
        return (self._keys if subject.key else self._tenants).get(subject.key or subject.tenant)

    def _wait(self, waiting: Waiting, now_s: float) -> Waiting:
        pair = waiting.key, waiting.tenant
        refusal = self._refused.get(pair)
        if refusal is not None and now_s < refusal.until_s:
            raise RateLimited(refusal.message, limit=refusal.limit, retry_after_s=refusal.until_s - now_s)
        queue = self._queues.setdefault(pair, deque())
        queue.append(waiting)
        if len(queue) == 1:
            self._ask(waiting)
        return waiting

    def _ask(self, waiting: Waiting) -> None:
        """Asks for all that it needs, and gives back what is there of it, so that the owner sees the whole."""
        waiting.asks += 1
        self._num_asks += 1
        self._asked[self._num_asks] = waiting
        returns = []
        for held in (self._keys.get(waiting.key), self._tenants.get(waiting.tenant)):
            if held is not None:
                self._outbox.pop(held, None)
                returned = held.give_back(everything=True)
                assert returned is not None
                returns.append(returned)
        self._outgoing.append(
            Ask(
                self._num_asks,
                self._seen,
                waiting.key,
                waiting.tenant,
                waiting.requests,
                waiting.units,
                waiting.cost_nano,
                tuple(returns),
            )
        )

    def _granted(self, grant: Grant, now_s: float) -> Outcomes:
        self._seen = grant.seq
        asked = self._asked.pop(grant.number)
        pair = asked.key, asked.tenant
        limited = set()
        for lease in grant.leases:
            limited.add(lease.subject)
            held = self._held_on(lease, int(now_s))
            held.add(lease, grant.second)
            self._leased[held] = None
        outcomes: Outcomes = []
        queue = self._queues.get(pair)
        if queue:
            self._serve(queue, outcomes, now_s, limited)
        self._ask_on(pair, outcomes)
        return outcomes

    def _was_refused(self, refusal: Refusal, now_s: float) -> Outcomes:
        asked = self._asked.pop(refusal.number)
        pair = asked.key, asked.tenant
        outcomes: Outcomes = []
        queue = self._queues.get(pair)
        if queue:
            self._serve(queue, outcomes, now_s)
            for waiting in [waiting for waiting in queue if waiting.needs_as_much_as(asked)]:
                queue.remove(waiting)
                outcomes.append((waiting, refusal.error()))
        if refusal.until_s > now_s and asked.requests == 1:
            self._refused[pair] = refusal
        self._ask_on(pair, outcomes)
        return outcomes

    def _recalled(self, recall: Recall) -> None:
        held = self._find(recall.subject) or Held(recall.subject, self._outbox, self._freed)
        held.recall()
        for pair in [pair for pair in self._refused if recall.subject in (Subject(pair[1], pair[0]), Subject(pair[1]))]:
            del self._refused[pair]

    def _serve(
        self, queue: deque[Waiting], outcomes: Outcomes, now_s: float, limited: Container[Subject] | None = None
    ) -> None:
        """Those in front that can be served with what is there. Of a pair of subjects only those in `limited` have limits, as
        the owner knows it; None is both."""
        while queue:
            waiting = queue[0]
            need = waiting.requests, waiting.units, waiting.cost_nano
            found = [self._find(subject) for subject in waiting.subjects if limited is None or subject in limited]
            accounts = [held for held in found if held is not None]
            if not all(held.fits(int(now_s), *need) for held in accounts):
                return
            for held in accounts:
                held.take(*need)
            queue.popleft()
            one, other = [*accounts, None, None][:2]
            outcomes.append((waiting, Reservation(one, other, now_s, *need)))

    def _ask_on(self, pair: tuple[str, str], outcomes: Outcomes) -> None:
        """The next one in front asks; who asked too often is refused."""
        queue = self._queues.get(pair)
        while queue and queue[0].asks >= MAX_ASKS:
            slow = Overloaded("the process that keeps the limits does not answer in time; try again")
            outcomes.append((queue.popleft(), slow))
        if queue:
            self._ask(queue[0])
        else:
            self._queues.pop(pair, None)

    def _held_on(self, lease: Lease, second: int) -> Held:
        """Where the lease is to be kept; a new object if other things are limited now than before."""
        terms = (lease.requests is not None, lease.units is not None, lease.slots is not None, lease.nano is not None)
        held = self._find(lease.subject)
        if held is None or held.terms != terms:
            if held is not None:
                held.retire()
            held = Held(lease.subject, self._outbox, self._freed)
            held.set_terms(terms, second)
            self._put(held)
        return held


def _tighter(one: Standing | None, other: Standing | None, unused: int) -> Standing | None:
    """The one that leaves less; `unused` of the other lies with this worker."""
    if other is None:
        return one
    other = other._replace(remaining=min(other.limit, other.remaining + unused))
    return other if one is None or other.remaining < one.remaining else one

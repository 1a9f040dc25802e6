"""The owner of every limit, in the parent of several workers: the book, who leased what of it, and the messages to send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from modeltap.domain.quota import QuotaBook, Spent
from modeltap.domain.quota_counters import Subject
from modeltap.domain.quota_lease import FromOwner, FromWorker, LeaseOwner
from modeltap.domain.tenant import Limits

Outgoing = dict[int, list[FromOwner]]
"""Worker → messages, in order."""


class Lessor:
    """Workers are named by their number and how often they were started, so that a new one is never taken for a dead one."""

    def __init__(self, book: QuotaBook, clock: Callable[[], float]) -> None:
        self.book = book
        self._owner = LeaseOwner(book)
        self._clock = clock
        self._names: dict[int, str] = {}
        self._limits: dict[Subject, Limits] = {}
        self._starts = 0

    def publish(self, limits: Mapping[Subject, Limits], spent: Mapping[Subject, Spent]) -> Outgoing:
        """These limits hold; workers ask anew for what changed."""
        self.book.replace_limits(limits, spent, self._clock())
        before, self._limits = self._limits, dict(limits)
        changed = [subject for subject in {*before, *limits} if before.get(subject) != limits.get(subject)]
        return self._by_number([sent for subject in changed for sent in self._owner.recall(subject)])

    def join(self, number: int) -> str:
        """A worker starts; this is what it is called."""
        self._starts += 1
        name = self._names[number] = f"{number}#{self._starts}"
        self._owner.join(name)
        return name

    def heard(self, number: int, messages: Sequence[FromWorker]) -> Outgoing:
        now_s = self._clock()
        return self._by_number(
            [sent for message in messages for sent in self._owner.receive(self._names[number], message, now_s)]
        )

    def tick(self) -> Outgoing:
        return self._by_number(self._owner.tick(self._clock()))

    def lost(self, number: int) -> tuple[str, Outgoing]:
        """The worker is gone; its name is for `settle_lost`, once its records are in the database."""
        name = self._names.pop(number)
        return name, self._by_number(self._owner.lose(name, self._clock()))

    def settle_lost(self, name: str, spent: Mapping[Subject, Spent]) -> None:
        self._owner.settle_lost(name, spent, self._clock())

    def _by_number(self, outgoing: Sequence[tuple[str, FromOwner]]) -> Outgoing:
        numbers = {name: number for number, name in self._names.items()}
        found: Outgoing = {}
        for name, message in outgoing:
            if name in numbers:
                found.setdefault(numbers[name], []).append(message)
        return found

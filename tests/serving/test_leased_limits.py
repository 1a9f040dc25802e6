"""A worker's limits: what it tells the process that owns them, and when that one is gone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modeltap.domain.quota import QuotaBook, Reservation
from modeltap.domain.quota_counters import Subject
from modeltap.domain.quota_lease import Ask, FromWorker, LeaseOwner
from modeltap.domain.tenant import Limits
from modeltap.errors import ModeltapError, RateLimited, Unavailable
from modeltap.serving.limits import LeasedLimits

NOW_S = 1_795_323_967.0


def test_whoever_waits_for_the_owners_word_is_refused_when_it_is_lost_and_others_are_not() -> None:
    sent: list[FromWorker] = []
    outcomes: list[Reservation | ModeltapError] = []

    def send(messages: Sequence[FromWorker]) -> None:
        sent.extend(messages)

    limits = LeasedLimits(send)
    limits.publish({Subject("acme", "limited"): Limits(rpm=5)})
    limits.reserve("limited", "acme", 1, 0, NOW_S, outcomes.append, outcomes.append)
    assert [type(message) for message in sent] == [Ask] and not outcomes
    limits.owner_lost()
    (refusal,) = outcomes
    assert isinstance(refusal, Unavailable) and refusal.retry_after_s
    with pytest.raises(Unavailable, match="about to end"):
        limits.reserve("limited", "acme", 1, 0, NOW_S, outcomes.append, outcomes.append)
    limits.reserve("free", "acme", 1, 0, NOW_S, outcomes.append, outcomes.append)
    assert isinstance(outcomes[-1], Reservation)


def test_a_place_that_comes_free_is_another_workers_before_its_answer_is_sent() -> None:
    subject, limits = Subject("acme", "limited"), Limits(concurrency=1)
    book = QuotaBook()
    book.replace_limits({subject: limits}, {}, NOW_S)
    owner = LeaseOwner(book)
    workers: dict[str, LeasedLimits] = {}

    def reach(name: str) -> None:
        def send(messages: Sequence[FromWorker]) -> None:
            for message in messages:
                for receiver, answer in owner.receive(name, message, NOW_S):
                    workers[receiver].heard([answer], NOW_S)

        owner.join(name)
        workers[name] = LeasedLimits(send)
        workers[name].publish({subject: limits})

    def ask(name: str) -> Reservation | ModeltapError:
        outcomes: list[Reservation | ModeltapError] = []
        workers[name].reserve("limited", "acme", 1, 0, NOW_S, outcomes.append, outcomes.append)
        (outcome,) = outcomes
        return outcome

    reach("one")
    reach("other")
    first = ask("one")
    assert isinstance(first, Reservation)
    for name in workers:
        refusal = ask(name)
        assert isinstance(refusal, RateLimited) and refusal.limit == "concurrency"
    first.settle(units=1, cost_nano=0)
    assert isinstance(ask("other"), Reservation)

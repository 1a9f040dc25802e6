"""A worker's limits when the process that owns them is gone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modeltap.domain.quota import Reservation
from modeltap.domain.quota_counters import Subject
from modeltap.domain.quota_lease import Ask, FromWorker
from modeltap.domain.tenant import Limits
from modeltap.errors import ModeltapError, Unavailable
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

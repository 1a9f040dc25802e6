"""The life of a replica, walked through at random; and how long a dead one is waited for."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.domain.replica import ENDED, TRANSITIONS, ReplicaEvent, ReplicaState, Restart, next_state, plan_restart
from modeltap.errors import Conflict

EVENTS = get_args(ReplicaEvent)


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_no_walk_leaves_the_table_and_none_comes_back_from_the_end(events: list[ReplicaEvent]) -> None:
    state: ReplicaState = "starting"
    was_ready = False
    for event in events:
        if (state, event) not in TRANSITIONS:
            with pytest.raises(Conflict, match=f"a replica that is {state} cannot {event}"):
                next_state(state, event)
            continue
        assert state not in ENDED
        state = next_state(state, event)
        assert event != "warm" or not was_ready, "ready once"
        was_ready = was_ready or state == "ready"
        assert state != "failed" or event == "fail"
        assert state != "stopped" or event == "stop"


def test_whatever_it_does_it_can_fail_until_it_has_ended() -> None:
    states = get_args(ReplicaState)
    assert {state for state in states if (state, "fail") in TRANSITIONS} == set(states) - ENDED


def test_pauses_double_up_to_half_a_minute() -> None:
    restart, pauses = Restart(), []
    for _ in range(12):
        restart = plan_restart(restart, 1.0)
        pauses.append(round(restart.pause_s, 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    assert plan_restart(Restart(10_000), 0.0).pause_s == 30.0


def test_after_a_minute_of_life_the_next_pause_is_the_shortest() -> None:
    assert plan_restart(Restart(9, 25.6), 60.0) == Restart(1, 0.1)
    assert plan_restart(Restart(9, 25.6), 59.9) == Restart(10, 30.0)

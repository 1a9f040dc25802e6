"""For whom the next step of an engine waits, and how long at the most."""

from __future__ import annotations

import pytest

from modeltap.engines.returning import FIRST_S, LEAST_S, MOST_S, NEXT_S, SHARE, VAIN, Patience

STEP_S = 0.1


def test_nobody_is_waited_for_unless_a_text_ended() -> None:
    patience = Patience()
    assert patience.left_s(1.0) == 0.0
    patience.stepped(1.0, took_s=STEP_S, num_ended=0)
    patience.returned(1.0, 3)
    assert patience.left_s(1.0) == 0.0


def test_the_step_waits_until_all_that_ended_are_back() -> None:
    patience = Patience()
    patience.stepped(1.0, took_s=STEP_S, num_ended=2)
    assert patience.left_s(1.0) == pytest.approx(FIRST_S)
    patience.returned(1.002, 1)
    assert patience.left_s(1.002) == pytest.approx(NEXT_S)
    patience.returned(1.003, 1)
    assert patience.left_s(1.003) == 0.0


def test_the_one_who_does_not_return_is_not_waited_for_long() -> None:
    patience = Patience()
    patience.stepped(1.0, took_s=STEP_S, num_ended=2)
    assert patience.left_s(1.0 + FIRST_S) == 0.0
    patience.returned(60.0, 1)
    assert patience.left_s(60.0) == 0.0, "who comes after a minute is read at once"


@pytest.mark.parametrize(("comes_back", "most"), [(True, 1.0), (False, 1 / VAIN)])
def test_no_more_than_a_share_of_the_time_is_waited_and_far_less_in_vain(comes_back: bool, most: float) -> None:
    patience, now_s, waited_s, num_steps = Patience(), 0.0, 0.0, 2000
    for _ in range(num_steps):
        patience.stepped(now_s, took_s=STEP_S, num_ended=1)
        left_s = patience.left_s(now_s)
        if left_s:
            patience.waited(left_s, in_vain=not comes_back)
        waited_s += left_s
        now_s += left_s + STEP_S
    assert 0.0 < waited_s <= most * (SHARE * STEP_S * num_steps + MOST_S) + VAIN * FIRST_S


def test_steps_of_a_millisecond_are_not_held_up_for_long() -> None:
    patience = Patience()
    for _ in range(3):
        patience.stepped(1.0, took_s=0.001, num_ended=1)
        patience.waited(patience.left_s(1.0), in_vain=False)
    patience.stepped(1.0, took_s=0.001, num_ended=1)
    assert patience.left_s(1.0) == 0.0 and LEAST_S > 3 * SHARE * 0.001

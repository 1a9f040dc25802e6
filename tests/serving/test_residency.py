"""Which versions leave memory: those that nobody calls, and of the others the one called longest ago, never one in use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modeltap.serving.residency import FRESH_S, Resident, plan_unloading

NOW_S = 1000.0
RESIDENTS = st.dictionaries(
    st.integers(0, 20),
    st.builds(
        Resident,
        memory_bytes=st.integers(0, 100),
        loaded_s=st.floats(900, NOW_S),
        last_used_s=st.floats(900, NOW_S),
        is_busy=st.booleans(),
    ),
)


def resident(memory_bytes: int, used_ago_s: float, *, busy: bool = False) -> Resident:
    return Resident(memory_bytes, NOW_S - 500, NOW_S - used_ago_s, busy)


def going(*residents: Resident, limit_bytes: int = 100, need_bytes: int = 0, unload_after_s: float | None = None) -> list[int]:
    return plan_unloading(
        enumerate(residents), now_s=NOW_S, limit_bytes=limit_bytes, need_bytes=need_bytes, unload_after_s=unload_after_s
    )


def test_under_the_limit_all_stay() -> None:
    assert going(resident(60, 300), resident(40, 200)) == []


def test_over_it_the_one_that_was_not_called_for_longest_goes() -> None:
    assert going(resident(60, 10), resident(40, 300), resident(30, 200)) == [1]
    assert going(resident(60, 10), resident(40, 300), resident(30, 200), need_bytes=30) == [1, 2]


def test_one_in_use_stays_and_the_next_goes() -> None:
    assert going(resident(60, 300, busy=True), resident(60, 200), resident(60, 100)) == [1, 2]
    assert going(resident(200, 300, busy=True), resident(10, 200, busy=True)) == []


def test_what_nobody_called_for_long_goes_whatever_there_is_of_memory() -> None:
    assert going(resident(1, 61), resident(1, 60), resident(1, 59), resident(1, 99, busy=True), unload_after_s=60) == [0, 1]


def test_what_was_just_loaded_waits_for_its_caller_to_come_back() -> None:
    fresh = Resident(80, NOW_S - FRESH_S / 2, NOW_S - FRESH_S / 2, is_busy=False)
    called = Resident(80, NOW_S - FRESH_S / 2, NOW_S - FRESH_S / 4, is_busy=False)
    stale = Resident(80, NOW_S - FRESH_S, NOW_S - FRESH_S, is_busy=False)
    assert going(fresh, need_bytes=80) == []
    assert going(called, need_bytes=80) == [0]
    assert going(stale, need_bytes=80) == [0]


@given(RESIDENTS, st.integers(0, 300), st.integers(0, 100), st.one_of(st.none(), st.floats(1, 200)))
def test_no_more_goes_than_must_and_nothing_in_use(
    residents: dict[int, Resident], limit_bytes: int, need_bytes: int, unload_after_s: float | None
) -> None:
    gone = plan_unloading(
        residents.items(), now_s=NOW_S, limit_bytes=limit_bytes, need_bytes=need_bytes, unload_after_s=unload_after_s
    )
    assert not any(residents[key].is_busy for key in gone)
    left_bytes = need_bytes + sum(one.memory_bytes for key, one in residents.items() if key not in gone)
    idle = [key for key in gone if unload_after_s is not None and NOW_S - residents[key].last_used_s >= unload_after_s]
    if left_bytes > limit_bytes:
        assert not any(one.may_go(NOW_S) for key, one in residents.items() if key not in gone)
    elif len(gone) > len(idle):
        last = [key for key in gone if key not in idle][-1]
        assert left_bytes + residents[last].memory_bytes > limit_bytes

"""The meter: what is charged, what is on record at every step, and what a disk that refuses does to it."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.quota import QuotaBook
from modeltap.domain.quota_counters import Subject
from modeltap.domain.tenant import Limits
from modeltap.errors import Conflict, InvalidInput, RateLimited, StorageFailed
from modeltap.serving.meter import TRANSITIONS, Meter, Ticket
from modeltap.storage.segments import SegmentWriter, segment_files
from modeltap.storage.segments_frames import Close, Delivered, Frame, Reserve, Settle, Void, parse_frames

NOW_S = 1_795_323_967.25
LIMITS = Limits(rpm=5, upm=100, concurrency=3, budget_day_nano=1000)
KEY = Subject("acme", "k1")


@pytest.fixture
def book() -> QuotaBook:
    book = QuotaBook()
    book.set_limits(KEY, LIMITS)
    return book


@pytest.fixture
def meter(tmp_path: Path, book: QuotaBook) -> Iterator[Meter]:
    meter = Meter(SegmentWriter(tmp_path / "usage", "w1"), book, clock=lambda: NOW_S)
    yield meter
    meter.close()


def reserve(meter: Meter, units: int = 10, cost_nano: int = 100) -> Ticket:
    return meter.reserve(
        request_id="r", tenant="acme", key="k1", deployment="digits", unit="row", units=units, cost_nano=cost_nano
    )


def settle(meter: Meter, ticket: Ticket, units: int = 10) -> int:
    return meter.settle(ticket, model="digits@1", units=units, queue_us=5, compute_us=7)


def frames(folder: Path) -> list[Frame]:
    return [frame for file in segment_files(folder / "usage") for frame in parse_frames(file.path.read_bytes())[0]][1:]


def left(book: QuotaBook) -> tuple[int, int, int, int]:
    """Of requests, units, places and money."""
    counters = book.counters(KEY)
    assert counters is not None
    return (
        5 - counters.num_requests,
        100 - counters.num_units,
        3 - counters.in_flight,
        1000 - counters.day_nano,
    )


@contextmanager
def full_disk(folder: Path, *, free_bytes: int) -> Iterator[None]:
    """Files may grow by so much: the system refuses the rest, in the middle of a write if need be."""
    size = max(file.path.stat().st_size for file in segment_files(folder / "usage"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_every_step_of_an_answer_is_on_record_before_the_next(meter: Meter, tmp_path: Path) -> None:
    ticket = reserve(meter)
    assert frames(tmp_path) == [Reserve(1, "r", "acme", "k1", "digits", "row", 10, 100, NOW_S)]
    answer = StoredAnswer("again", "f", 200, "application/json", b"{}")
    cost_nano = meter.settle(ticket, model="digits@1", units=4, queue_us=5, compute_us=7, answer=answer)
    assert cost_nano == 40
    (settled,) = frames(tmp_path)[1:]
    assert isinstance(settled, Settle)
    assert settled.answer == answer
    assert (settled.record.units, settled.record.cost_nano, settled.record.accepted_at_s) == (4, 40, NOW_S)
    assert (settled.record.status, settled.record.delivery) == ("answered", "unknown")
    meter.delivered(ticket)
    assert len(frames(tmp_path)) == 2, "a mark waits for the next frame"
    reserve(meter)
    assert frames(tmp_path)[2] == Delivered([1])
    meter.flush()
    assert len(frames(tmp_path)) == 4, "and is written once"


def test_an_idle_meter_writes_its_marks_and_a_closed_one_its_last_frame(meter: Meter, tmp_path: Path) -> None:
    for _ in range(2):
        ticket = reserve(meter)
        settle(meter, ticket)
        meter.delivered(ticket)
    meter.flush()
    assert frames(tmp_path)[-1] == Delivered([2])
    meter.close()
    meter.close()
    assert frames(tmp_path)[-1] == Close(2)


def test_what_fails_or_is_cancelled_costs_nothing_and_says_why(meter: Meter, book: QuotaBook, tmp_path: Path) -> None:
    meter.fail(reserve(meter), "invalid_value", model="digits@1")
    meter.cancel(reserve(meter))
    ended = [frame.record for frame in frames(tmp_path) if isinstance(frame, Settle)]
    assert [(record.status, record.code, record.units, record.cost_nano, record.delivery) for record in ended] == [
        ("failed", "invalid_value", 0, 0, "none"),
        ("cancelled", "", 0, 0, "none"),
    ]
    assert left(book) == (3, 100, 3, 1000)


def test_a_request_that_is_refused_leaves_no_trace(meter: Meter, tmp_path: Path) -> None:
    with pytest.raises(RateLimited):
        reserve(meter, units=101)
    assert frames(tmp_path) == []
    assert reserve(meter).number == 1


def test_units_without_bounds_are_refused(meter: Meter, book: QuotaBook, tmp_path: Path) -> None:
    book.set_limits(KEY, Limits())
    with pytest.raises(InvalidInput, match="fewer"):
        reserve(meter, units=10**13)
    with pytest.raises(InvalidInput, match="fewer"):
        reserve(meter, cost_nano=10**16)
    assert frames(tmp_path) == []


def test_a_request_ends_once(meter: Meter) -> None:
    events: dict[str, Callable[[Ticket], Any]] = {
        "settle": lambda ticket: settle(meter, ticket),
        "void": lambda ticket: meter.fail(ticket, "x"),
        "deliver": meter.delivered,
    }
    ways = {"reserved": (), "settled": ("settle",), "delivered": ("settle", "deliver"), "voided": ("void",)}
    for (state, way), event in product(ways.items(), events):
        meter._book.set_limits(KEY, Limits())
        ticket = reserve(meter)
        for step in way:
            events[step](ticket)
        assert ticket.state == state
        if (state, event) in TRANSITIONS or (state, event) == ("voided", "void"):
            events[event](ticket)
        else:
            with pytest.raises(Conflict, match=f"is {state}, and cannot {event}"):
                events[event](ticket)


def test_more_units_than_were_reserved_are_a_mistake_and_change_nothing(meter: Meter) -> None:
    ticket = reserve(meter)
    with pytest.raises(ValueError, match="11 units are more than the 10"):
        settle(meter, ticket, units=11)
    assert settle(meter, ticket) == 100


@pytest.mark.parametrize("free_bytes", [0, 1, 30])
def test_a_disk_that_is_full_accepts_nothing(meter: Meter, book: QuotaBook, tmp_path: Path, free_bytes: int) -> None:
    settle(meter, reserve(meter))
    before = frames(tmp_path), left(book)
    with full_disk(tmp_path, free_bytes=free_bytes), pytest.raises(StorageFailed, match="larger than this system allows"):
        reserve(meter)
    assert (frames(tmp_path), left(book)) == before
    assert reserve(meter).number == 2


def test_an_answer_that_cannot_be_recorded_is_not_charged(meter: Meter, book: QuotaBook, tmp_path: Path) -> None:
    ticket = reserve(meter)
    with full_disk(tmp_path, free_bytes=10):
        with pytest.raises(StorageFailed):
            settle(meter, ticket)
        meter.fail(ticket, "storage_failed")  # as the edge does with whatever was raised
        with pytest.raises(StorageFailed):
            meter.flush()
    assert left(book) == (4, 100, 3, 1000)
    assert len(frames(tmp_path)) == 1
    reserve(meter)
    assert Void([1]) in frames(tmp_path)[1:]


def test_what_fails_on_a_full_disk_fails_with_its_own_error(meter: Meter, tmp_path: Path) -> None:
    ticket = reserve(meter)
    with full_disk(tmp_path, free_bytes=3):
        meter.cancel(ticket)
    meter.flush()
    assert frames(tmp_path)[1:] == [Void([1])]


def test_marks_that_could_not_be_written_are_written_later(meter: Meter, tmp_path: Path) -> None:
    ticket = reserve(meter)
    settle(meter, ticket)
    meter.delivered(ticket)
    with full_disk(tmp_path, free_bytes=3), pytest.raises(StorageFailed):
        reserve(meter)
    reserve(meter)
    assert frames(tmp_path)[2:] == [Delivered([1]), Reserve(2, "r", "acme", "k1", "digits", "row", 10, 100, NOW_S)]

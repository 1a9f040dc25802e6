"""Usage and audit over HTTP: exact sums, each tenant its own, every record as CSV, and what is said of books that are wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from control_front import ControlFront, control_front
from sqlalchemy import delete
from used_units import CALLS, FIRST_DAY_S, metering, write_usage

from modeltap.api.control_usage import ADVICE
from modeltap.control.audit import Rule
from modeltap.control.usage import CSV_COLUMNS
from modeltap.domain.quota_counters import Subject
from modeltap.domain.tenant import Limits
from modeltap.storage.tenants import TenantRepository
from modeltap.storage.usage import UsageRepository
from modeltap.storage.usage_tables import usage_records

ACME_ROWS = {"unit": "row", "requests": 4, "answered": 3, "units": 8, "cost": "0.003500001", "compute_us": 300}
ACME_IMAGES = {"unit": "image", "requests": 1, "answered": 1, "units": 2, "cost": "40", "compute_us": 100}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlFront]:
    home = tmp_path_factory.mktemp("used")
    with control_front(home) as front:
        for tenant in ("acme", "globex"):
            TenantRepository(front.database).add(tenant, {}, datetime.now(UTC))
        front.publish()
        write_usage(home)
        yield front


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_sums_are_exact_and_units_of_different_kinds_stay_apart(front: ControlFront) -> None:
    told = front.ask("GET", "/api/usage", tenant="acme")
    assert told == {
        "currency": "EUR",
        "tenant": "acme",
        "by": [],
        "sums": [ACME_IMAGES, ACME_ROWS],
        "totals": [ACME_IMAGES, ACME_ROWS],
    }


def test_sums_are_grouped_by_what_is_asked_for_in_that_order(front: ControlFront) -> None:
    told = front.ask("GET", "/api/usage?by=day&by=key", tenant="acme")
    found = [(one["day"], one["key"], one["unit"], one["requests"], one["units"], one["cost"]) for one in told["sums"]]
    assert found == [
        ("2024-10-04", "ka", "row", 2, 7, "0.0035"),
        ("2024-10-04", "kb", "row", 2, 1, "0.000000001"),
        ("2024-10-05", "ka", "image", 1, 2, "40"),
    ]
    assert told["totals"] == [ACME_IMAGES, ACME_ROWS]
    by_model = front.ask("GET", "/api/usage?by=model&by=deployment&by=model", tenant="acme")
    assert by_model["by"] == ["model", "deployment"]
    assert {(one["model"], one["deployment"]) for one in by_model["sums"]} == {
        ("digits@1", "digits"),
        ("photos@1", "photos"),
        ("wine@1", "wine"),
    }


@pytest.mark.parametrize(
    ("query", "units"),
    [
        ("key=ka", 7 + 2),
        ("deployment=digits", 7),
        ("since=2024-10-05", 2),
        ("until=2024-10-05", 8),
        ("since=2024-10-04T00:00:10Z&until=2024-10-04T00:00:20", 4),
        ("since=2024-10-04T02:00:10%2B02:00&until=2024-10-05", 5),
        ("key=ka&deployment=digits&until=2024-10-04T00:00:10Z", 3),
        ("key=nobody", 0),
    ],
)
def test_what_is_not_chosen_does_not_count(front: ControlFront, query: str, units: int) -> None:
    told = front.ask("GET", f"/api/usage?{query}", tenant="acme")
    assert sum(one["units"] for one in told["totals"]) == units
    records = rows_of(front.request("GET", f"/api/usage.csv?{query}", tenant="acme").text)
    assert sum(int(record["units"]) for record in records) == units


def test_every_record_is_a_row_in_the_order_of_acceptance(front: ControlFront) -> None:
    answer = front.request("GET", "/api/usage.csv", tenant="acme")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "usage.csv" in answer.headers["content-disposition"]
    assert answer.text.splitlines()[0] == ",".join(CSV_COLUMNS)
    records = rows_of(answer.text)
    assert [record["request_id"] for record in records] == ["req-1", "req-2", "req-3", "req-4", "req-5"]
    assert sum(Decimal(record["cost"]) for record in records) == Decimal("40.003500001")
    failed = records[2]
    assert (failed["status"], failed["code"], failed["units"], failed["cost"], failed["delivery"]) == (
        "failed",
        "invalid_value",
        "0",
        "0",
        "none",
    )
    assert records[0]["accepted_at"] == "2024-10-04T00:00:00.000000Z"
    assert records[0]["delivery"] == "delivered"


def test_a_tenant_sees_its_own_and_the_admin_key_all(front: ControlFront) -> None:
    for tenant in ("acme", "globex"):
        key = front.make_key(tenant, "admin")
        own = {call.key for call in CALLS if call.tenant == tenant}
        for query in ("", f"&tenant={'globex' if tenant == 'acme' else 'acme'}", "&key=kg", "&key=ka"):
            told = front.ask("GET", f"/api/usage?by=key&by=tenant{query}", key=key)
            assert told["tenant"] == tenant
            assert {one["key"] for one in told["sums"]} <= own
            assert {one["tenant"] for one in told["sums"]} <= {tenant}
            records = rows_of(front.request("GET", f"/api/usage.csv?{query[1:]}", key=key).text)
            assert {record["tenant"] for record in records} <= {tenant}
        assert front.request("GET", "/api/audit", key=key).status_code == 403
    told = front.ask("GET", "/api/usage?by=tenant")
    assert told["tenant"] is None
    assert {(one["tenant"], one["unit"], one["units"]) for one in told["sums"]} == {
        ("acme", "row", 8),
        ("acme", "image", 2),
        ("globex", "row", 100),
    }
    assert len(rows_of(front.request("GET", "/api/usage.csv").text)) == len(CALLS)
    assert front.request("GET", "/api/usage", key=front.make_key("acme", "predict")).status_code == 403


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("since=yesterday", "give a date as"),
        ("until=2024-13-01", "until is '2024-13-01'"),
        ("since=2024-10-05&until=2024-10-05", "until must be later"),
        ("key=%00", "key"),
        ("deployment=", "deployment"),
        (f"key={'k' * 81}", "key"),
    ],
)
@pytest.mark.parametrize("path", ["/api/usage", "/api/usage.csv"])
def test_what_cannot_be_asked_is_refused_before_an_answer_begins(front: ControlFront, path: str, query: str, told: str) -> None:
    answer = front.request("GET", f"{path}?{query}")
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["detail"]


def test_what_records_are_not_grouped_by_is_named(front: ControlFront) -> None:
    answer = front.request("GET", "/api/usage?by=day&by=kex")
    assert answer.status_code == 400 and "did you mean 'key'" in answer.json()["detail"]


def test_usage_is_there_as_soon_as_it_was_written(front: ControlFront) -> None:
    clock = [FIRST_DAY_S + 50 * 86_400.0]
    with metering(front.database.home, clock) as meter:
        ticket = meter.reserve(
            request_id="req-now", tenant="globex", key="kn", deployment="digits", unit="row", units=5, cost_nano=5
        )
        assert front.ask("GET", "/api/usage?key=kn")["sums"] == []
        meter.settle(ticket, model="digits@1", units=5, queue_us=1, compute_us=1)
        (one,) = front.ask("GET", "/api/usage?key=kn")["sums"]
        assert (one["requests"], one["units"], one["cost"]) == (1, 5, "0.000000005")


def test_every_rule_of_the_audit_says_what_to_do() -> None:
    assert set(ADVICE) == set(get_args(Rule))


def test_books_that_are_right_are_clean_and_those_that_are_not_say_where(tmp_path: Path) -> None:
    with control_front(tmp_path) as front:
        write_usage(tmp_path)
        clean = front.ask("GET", "/api/audit")
        assert (clean["clean"], clean["findings"], clean["num_records"]) == (True, [], len(CALLS))
        repository = UsageRepository(front.database)
        repository.note_limits({Subject("globex", "kg"): Limits(upm=99)}, FIRST_DAY_S)
        with front.database.writing() as connection:
            connection.execute(delete(usage_records).where(usage_records.c.request_id == "req-2"))
        told = front.ask("GET", "/api/audit")
        assert not told["clean"]
        found: dict[str, Any] = {one["rule"]: one for one in told["findings"]}
        assert set(found) == {"numbers", "upm"}
        assert found["upm"]["of"] == "key kg of globex" and "the limit was 99" in found["upm"]["detail"]
        assert all(one["advice"] for one in told["findings"])

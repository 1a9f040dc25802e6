"""modeltap usage and audit, and the same in the client: against the real API on a socket."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from control_front import ControlFront, control_front
from sqlalchemy import delete
from used_units import CALLS, write_usage

from modeltap.cli.main import run
from modeltap.client import Client, ConnectionFailed
from modeltap.errors import Forbidden, InvalidInput
from modeltap.storage.tenants import TenantRepository
from modeltap.storage.usage_tables import usage_records

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlFront]:
    home = tmp_path_factory.mktemp("used")
    with control_front(home) as front:
        for tenant in ("acme", "globex"):
            TenantRepository(front.database).add(tenant, {}, datetime.now(UTC))
        front.publish()
        write_usage(home)
        yield front


@pytest.fixture(scope="module")
def url(front: ControlFront) -> Iterator[str]:
    with front.listening() as url:
        yield url


@pytest.fixture
def say(front: ControlFront, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command as the holder of the admin key, and gives what it writes to stdout."""

    def say(*words: str, code: int = 0) -> str:
        done = run([*words, "--url", url, "--key", front.admin_key, "--home", str(tmp_path)])
        printed = capsys.readouterr()
        assert done == code, printed.out + printed.err
        return printed.out

    return say


@pytest.fixture
def cli(say: Callable[..., str]) -> Cli:
    """The same with --json: its document."""
    return lambda *words, code=0: msgspec.json.decode(say(*words, "--json", code=code))


def test_people_see_groups_their_units_and_costs_and_what_all_come_to(say: Callable[..., str]) -> None:
    lines = say("usage", "--by", "key", "--by", "day", "--tenant", "acme").splitlines()
    assert lines[0].split() == ["key", "day", "requests", "answered", "unit", "units", "cost", "(EUR)"]
    assert [line.split() for line in lines[1:]] == [
        ["ka", "2024-10-04", "2", "2", "row", "7", "0.0035"],
        ["ka", "2024-10-05", "1", "1", "image", "2", "40"],
        ["kb", "2024-10-04", "2", "1", "row", "1", "0.000000001"],
        ["total", "1", "1", "image", "2", "40"],
        ["total", "4", "3", "row", "8", "0.003500001"],
        ["40.003500001", "EUR", "together"],
    ]


def test_without_groups_there_is_one_line_a_unit(say: Callable[..., str]) -> None:
    lines = say("usage", "--tenant", "globex").splitlines()
    assert [line.split() for line in lines[1:]] == [["1", "1", "row", "100", "0.007"]]
    assert "Nothing was used by the tenant globex." in say("usage", "--tenant", "globex", "--of-key", "ka")


def test_the_document_is_the_servers_answer(cli: Cli, front: ControlFront) -> None:
    words = ("usage", "--by", "model", "--since", "2024-10-04", "--until", "2024-10-05", "--deployment", "digits")
    told = cli(*words)
    assert told == front.ask("GET", "/api/usage?by=model&since=2024-10-04&until=2024-10-05&deployment=digits")
    assert [(one["model"], one["units"]) for one in told["sums"]] == [("digits@1", 7)]
    assert cli("usage", "--since", "soon", code=1)["error"]["code"] == "invalid_input"
    assert "did you mean 'model'" in cli("usage", "--by", "modle", code=1)["error"]["detail"]


def test_records_are_written_to_a_file_or_to_stdout(say: Callable[..., str], cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "usage.csv"
    told = cli("usage", "--csv", str(target), "--tenant", "acme")
    text = target.read_text()
    assert told == {"name": "usage.csv", "path": str(target), "bytes": len(text)}
    assert say("usage", "--csv", "-", "--tenant", "acme") == text
    records = list(csv.DictReader(io.StringIO(text)))
    assert sum(Decimal(record["cost"]) for record in records) == Decimal("40.003500001")
    assert len(say("usage", "--csv", "-").splitlines()) == len(CALLS) + 1
    assert len(say("usage", "--csv", "-", "--of-key", "kg", "--since", "2024-10-05").splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--csv", "x.csv", "--by", "key"], "records are not grouped"), (["--csv", "-", "--json"], "stdout cannot hold both")],
)
def test_wrong_usage_is_said_before_anything_is_sent(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["usage", *words, "--url", "http://127.0.0.1:9", "--home", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert told in (printed.out + printed.err).replace("\n", " ")


def test_the_client_gives_typed_sums_and_books(front: ControlFront, url: str, tmp_path: Path) -> None:
    with Client(url, front.admin_key, tenant="acme") as client:
        report = client.usage.sums(by=["day"], since=date(2024, 10, 5))
        (one,) = report.sums
        assert (one.day, one.unit, one.units, one.cost) == (date(2024, 10, 5), "image", 2, Decimal(40))
        assert (report.currency, report.tenant, report.cost) == ("EUR", "acme", Decimal(40))
        late = client.usage.sums(since=datetime(2024, 10, 4, 0, 0, 10, tzinfo=UTC), until=datetime(2024, 10, 4, 0, 0, 20))
        assert late.totals[0].units == 4
        written = client.usage.write_csv(tmp_path / "all.csv", key="kb")
        assert (tmp_path / "all.csv").stat().st_size == written
        assert b"".join(client.usage.read_csv(key="kb")) == (tmp_path / "all.csv").read_bytes()
        with pytest.raises(InvalidInput, match="not grouped by 'colour'"):
            client.usage.sums(by=["colour"])
        with pytest.raises(InvalidInput, match="give a date"):
            client.usage.write_csv(tmp_path / "none.csv", since="soon")
        assert not (tmp_path / "none.csv").exists()
    key = front.make_key("globex", "admin")
    with Client(url, key) as own:
        assert [one.key for one in own.usage.sums(by=["key"]).sums] == ["kg"]
        with pytest.raises(Forbidden, match="admin key"):
            own.usage.audit()
    with Client("http://127.0.0.1:9", key, max_retries=0) as nobody, pytest.raises(ConnectionFailed):
        list(nobody.usage.read_csv())


def test_clean_books_end_well_and_others_with_1_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with control_front(tmp_path / "home") as front, front.listening() as url:
        write_usage(tmp_path / "home")
        words = ["audit", "--url", url, "--key", front.admin_key, "--home", str(tmp_path)]
        assert run(words) == 0
        assert f"clean: {len(CALLS)} records of 1 server starts" in capsys.readouterr().out
        assert run([*words, "--json"]) == 0
        assert msgspec.json.decode(capsys.readouterr().out)["clean"] is True
        with front.database.writing() as connection:
            connection.execute(delete(usage_records).where(usage_records.c.request_id == "req-2"))
        assert run(words) == 1
        told = capsys.readouterr().out
        assert "not clean: 1 finding in 5 records" in told and "5 different numbers from 1 to 6" in told
        assert "compare with a backup" in told
        assert run([*words, "--json"]) == 1
        found = msgspec.json.decode(capsys.readouterr().out)
        assert [one["rule"] for one in found["findings"]] == ["numbers"]

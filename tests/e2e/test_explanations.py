"""Explanations of a real server: by the Python client and the command line, metered by the rows that were run, stopped by the
clock and by callers who leave."""

from __future__ import annotations

import io
import json
import socket
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from charged_books import audited, read_records
from door_world import number_of
from fault_server import FaultServer, serving, until
from PIL import Image
from sklearn.datasets import load_digits, load_wine
from workshop import Workshop

import modeltap
from modeltap.cli.main import run
from modeltap.errors import DeadlinePassed, InvalidInput, RateLimited
from modeltap.storage.backup import restore_backup, write_backup

WINE = load_wine()
ROW = WINE.data[0].tolist()
DIGIT = load_digits().images[7].astype(np.uint8)
LONG = "?rows=20000"
"""Of 16 rows: more than a second of work."""
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def server(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """`wine` at 1 for 1,000 rows, `flat`, the same at 2 for 1,000 explanations, and `digits`."""
    names = [*WINE.feature_names, "kind"]
    lines = [
        ",".join(names),
        *(",".join(map(str, [*row, f"k{kind}"])) for row, kind in zip(WINE.data, WINE.target, strict=True)),
    ]
    workshop.add("why-wine", "\n".join(lines), target="kind")
    pixels = io.BytesIO()
    np.savez(pixels, x=load_digits().images[:200].astype(np.uint8), y=load_digits().target[:200])
    workshop.add("why-digits", pixels.getvalue(), "digits.npz")
    trees = {"model": {"max_iter": 30, "early_stopping_rounds": 0}}
    wine = workshop.train("why-wine", "tabular-classification", trees)["version"]
    digits = workshop.train("why-digits", "image-classification", {"model": "linear", "epochs": 3})["version"]
    home = tmp_path_factory.mktemp("why") / "home"
    with tempfile.TemporaryFile() as archive:
        write_backup(workshop.database, workshop.artifacts, archive)
        archive.seek(0)
        restore_backup(archive, home)
    with serving(home) as started:
        with modeltap.Client(home=home) as client:
            client.deployments.create(wine, name="wine", price={"row": 1})
            client.deployments.create(wine, name="flat", price={"row": 1, "explanation": 2})
            client.deployments.create(digits, name="digits")
        yield started


@pytest.fixture
def client(server: FaultServer) -> Iterator[modeltap.Client]:
    with modeltap.Client(home=server.home) as made:
        yield made


@pytest.fixture
def say(server: FaultServer, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command and gives what it says, on both streams, or with --json its document."""

    def say(*words: str, code: int = 0) -> Any:
        done = run([*words, "--home", str(server.home)])
        printed = capsys.readouterr()
        assert done == code, printed.out + printed.err
        return msgspec.json.decode(printed.out) if "--json" in words else printed.out + printed.err

    return say


def record_of(server: FaultServer, request_id: str) -> dict[str, str]:
    """The one usage record of the request, once it is read in."""

    def look() -> dict[str, str] | None:
        found = [one for one in read_records(server) if one["request_id"] == request_id]
        assert len(found) <= 1
        return found[0] if found else None

    return until("the record is there", look)


def many(count: int = 16) -> bytes:
    return json.dumps({"instances": [ROW] * count}).encode()


def test_the_client_gets_what_was_explained_and_is_charged_the_rows_that_were_run(server, client):
    told = client.explain("wine", [ROW], rows=700, seed=3)
    (one,) = told
    assert one.label == "k0" and one.prediction["label"] == "k0"
    assert one.base + sum(value["shapley"] for value in one.values) == pytest.approx(one.answer)
    assert 600 < told.rows == one.rows <= 700
    assert told.cost == Decimal(told.rows) / 1000
    record = record_of(server, told.receipt.request_id)
    assert (record["status"], record["code"], record["unit"]) == ("answered", "explained", "row")
    assert int(record["units"]) == told.rows
    assert Decimal(record["cost"]) == told.cost
    assert list(client.explain("wine", [ROW], rows=700, seed=3)) == list(told)


def test_a_price_for_explanations_takes_the_place_of_that_for_rows(server, client):
    told = client.explain("flat", [ROW, ROW], rows=400)
    assert told.cost == Decimal("0.004")
    record = record_of(server, told.receipt.request_id)
    assert (record["unit"], record["units"]) == ("explanation", "2")
    assert client.predict("flat", [ROW]).cost == Decimal("0.001")


def test_the_retry_of_a_call_is_charged_once_and_another_question_is_another_call(client):
    first = client.explain("wine", [ROW], rows=400, idempotency_key="once")
    again = client.explain("wine", [ROW], rows=400, idempotency_key="once")
    assert list(again) == list(first)
    assert again.receipt.is_replayed and not first.receipt.is_replayed
    with pytest.raises(modeltap.errors.Conflict):
        client.explain("wine", [ROW], rows=401, idempotency_key="once")


def test_the_scope_explain_is_asked_for(server, client):
    for scopes, path, status in (
        (["explain"], "/explain/wine?rows=400", 200),
        (["explain"], "/predict/wine", 403),
        (["predict"], "/explain/wine?rows=400", 403),
        (["train"], "/explain/wine?rows=400", 200),
    ):
        key = client.keys.create(scopes=scopes)
        answer = httpx.post(f"{client.url}{path}", content=many(1), headers={"x-api-key": key.key})
        assert answer.status_code == status, (scopes, path, answer.text)
    assert httpx.post(f"{client.url}/explain/wine", content=many(1)).status_code == 401


def test_limits_hold_for_the_rows_that_are_run(client):
    key = client.keys.create(scopes=["explain"], limits={"upm": 1_000})
    with modeltap.Client(client.url, key.key, max_retries=0) as limited:
        with pytest.raises(RateLimited):
            limited.explain("wine", [ROW])
        told = limited.explain("wine", [ROW], rows=600)
        assert told.receipt.units is not None
        assert told.receipt.units.remaining == 1_000 - told.rows
        with pytest.raises(RateLimited):
            limited.explain("wine", [ROW], rows=600)


def test_what_ran_until_the_time_was_over_is_charged_and_told(server, client):
    answer = httpx.post(
        f"{client.url}/explain/wine{LONG}&timeout_s=0.15",
        content=many(),
        headers={"x-api-key": server.client.headers["x-api-key"], "x-request-id": "too-late"},
        timeout=60,
    )
    assert answer.status_code == 504, answer.text
    assert answer.json()["code"] == "deadline_passed"
    assert answer.headers["x-should-retry"] == "false"
    record = record_of(server, "too-late")
    assert (record["status"], record["code"]) == ("answered", "explained_in_part")
    units = int(record["units"])
    assert 0 < units < 16 * 19_000
    assert f"{units:,} of " in answer.json()["detail"]
    assert Decimal(answer.headers["modeltap-cost"]) == Decimal(record["cost"]) == Decimal(units) / 1000
    with pytest.raises(DeadlinePassed):
        client.explain("wine", [ROW] * 16, rows=20_000, timeout_s=0.1)
    audited(server)


def test_predictions_go_on_and_a_caller_who_leaves_is_charged_what_ran(server, client):
    host, port = server.address
    body, key = many(), server.client.headers["x-api-key"]
    head = f"POST /explain/wine{LONG} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nx-request-id: gone\r\n"
    head += f"content-length: {len(body)}\r\ncontent-type: application/json\r\n\r\n"
    before = number_of(server, "modeltap_batch_rows_sum")
    with socket.create_connection((host, port)) as caller:
        caller.sendall(head.encode() + body)
        until("it runs", lambda: number_of(server, "modeltap_batch_rows_sum") > before + 500, pause_s=0.005)
        assert client.predict("wine", [ROW])[0]["label"] == "k0"
        assert not any(one["request_id"] == "gone" for one in read_records(server)), "it goes on beside the prediction"
    record = record_of(server, "gone")
    assert (record["status"], record["code"]) == ("answered", "explained_in_part")
    assert 500 <= int(record["units"]) < 16 * 19_000
    assert Decimal(record["cost"]) == Decimal(record["units"]) / 1000
    until("nothing is in flight", lambda: number_of(server, "modeltap_in_flight_requests") == 1)
    audited(server)


def test_the_command_tells_people_and_programs(say, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text(",".join(WINE.feature_names) + "\n" + ",".join(map(str, ROW)) + "\n")
    page = tmp_path / "why.html"
    text = say("explain", "wine", "--input", str(rows), "--rows", "500", "--html", str(page))
    for told in (
        "k0  0.",
        "without any of it: 0.",
        "proline",
        "moves the answer by",
        "fidelity: deletion",
        "rows run",
        "charged",
    ):
        assert told in text
    assert "proline" in page.read_text() and "<script" not in page.read_text()
    document = say("explain", "wine", "--input", str(rows), "--rows", "500", "--seed", "2", "--class", "k1", "--json")
    assert document["deployment"] == "wine"
    assert document["explanations"][0]["class"] == "k1"
    assert document["explanations"][0]["seed"] == 2


def test_the_command_writes_a_picture_and_says_where_there_is_none(say, tmp_path):
    source, target = tmp_path / "seven.png", tmp_path / "why.png"
    Image.fromarray(DIGIT * 15).save(source)
    text = say("explain", "digits", "--input", str(source), "--method", "rise", "--rows", "400", "--png", str(target))
    assert str(target) in text
    with Image.open(target) as shown:
        assert shown.size == (224, 224)
    several = tmp_path / "several.json"
    several.write_text(json.dumps([DIGIT.tolist(), DIGIT.tolist()]))
    say("explain", "digits", "--input", str(several), "--rows", "300", "--png", str(target))
    assert (tmp_path / "why-1.png").exists() and (tmp_path / "why-2.png").exists()
    wine = tmp_path / "wine.json"
    wine.write_text(json.dumps([ROW]))
    assert "--png is for pictures" in say("explain", "wine", "--input", str(wine), "--png", str(target), code=1)


def test_the_command_tells_what_each_column_is_worth_in_all(say):
    text = say("explain", "wine", "--global")
    assert "accuracy is worse" in text and "proline" in text
    document = say("explain", "wine", "--global", "--json")
    losses = [one["loss"] for one in document["importance"]]
    assert len(losses) == 13 and losses == sorted(losses, reverse=True) and losses[0] > 0
    assert "no importance of columns" in say("explain", "digits", "--global", code=1)


def test_wrong_use_of_the_command_is_told(say, tmp_path):
    assert "--global" in say("explain", "wine", code=2)
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([ROW]))
    assert "explained by: shapley" in say("explain", "wine", "--input", str(rows), "--method", "rise", code=1)


def test_the_client_names_what_is_wrong(client):
    with pytest.raises(InvalidInput, match="no class 'k9'"):
        client.explain("wine", [ROW], label="k9")


def test_what_was_explained_for_the_report_is_in_it(client):
    page = client.models.report(client.deployments.get("wine").routes[0]["model"] + "@1")
    assert "<h2>Columns</h2>" in page and "proline" in page
    page = client.models.report(client.deployments.get("digits").routes[0]["model"] + "@1")
    assert "<h2>Where it looks</h2>" in page and "integrated gradients" in page

"""modeltap batch: rows in a file, answers in a file, and what is said on the way; against a real server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from batch_home import answered, batch_server, csv_of, flat, new_key, people, predicted
from fault_server import FaultServer, until

from modeltap.cli.main import run
from modeltap.client import Client

PEOPLE = people(30)
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with batch_server(tmp_path_factory.mktemp("cli") / "home") as started:
        yield started


@pytest.fixture
def say(server: FaultServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command and gives what it says, on both streams, or with --json its document."""

    def say(*words: str, code: int = 0, key: str | None = None) -> Any:
        if key is not None:
            monkeypatch.setenv("MODELTAP_KEY", key)
        done = run([*words, "--home", str(server.home)])
        printed = capsys.readouterr()
        assert done == code, printed.out + printed.err
        return msgspec.json.decode(printed.out) if "--json" in words else printed.out + printed.err

    return say


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_bytes(csv_of(PEOPLE) + b"old,Ulm\n")
    return path


def test_answers_of_a_file_are_written_as_the_ending_says(server: FaultServer, say: Cli, rows: Path, tmp_path: Path) -> None:
    wanted = flat(predicted(server, PEOPLE))
    for ending, read in ((".parquet", pl.read_parquet), (".csv", pl.read_csv), (".jsonl", pl.read_ndjson)):
        output = tmp_path / f"answers{ending}"
        told = say("batch", "people", "--input", str(rows), "--output", str(output))
        assert f"{output}: 30 rows answered by people@1" in told and "cost 0.03" in told
        assert "1 rows do not fit" in told and "row 31: age: 'old' is not a number" in told
        table = read(output).to_dicts()
        assert table[:30] == wanted and table[30]["error"] == "age: 'old' is not a number"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "answers.jsonl", "answers.parquet", "rows.csv"]


def test_a_batch_may_be_left_alone_and_fetched_later(say: Cli, rows: Path, tmp_path: Path) -> None:
    started = say("batch", "people", "--input", str(rows), "--detach", "--json")
    assert (started["kind"], started["state"]) == ("batch", "queued")
    output = tmp_path / "answers.csv"
    fetched = say("batch", "--job", started["id"], "--output", str(output), "--json")
    assert (fetched["id"], fetched["complete"], fetched["answered"], fetched["refused"]) == (started["id"], True, 30, 1)
    assert fetched["bytes"] == output.stat().st_size
    assert f"{rows.name} → people" in say("jobs", "list")


def test_rows_come_from_stdin_too(say: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b"".join(msgspec.json.encode(row) + b"\n" for row in PEOPLE))

    monkeypatch.setattr("sys.stdin", Stdin)
    output = tmp_path / "answers.csv"
    assert say("batch", "people", "-i", "-", "-o", str(output), "--json")["answered"] == 30


def test_a_batch_that_stops_says_what_there_is_and_how_it_goes_on(
    server: FaultServer, say: Cli, rows: Path, tmp_path: Path
) -> None:
    _, key = new_key(server, budget_day="0.012")
    output = tmp_path / "answers.jsonl"
    told = say("batch", "people", "--input", str(rows), "--output", str(output), key=key, code=1)
    assert "budget of one day" in told and "modeltap jobs resume job-" in told and not output.exists()
    job_id = told[told.index("job-") :].split()[0].rstrip(";")
    part = say("batch", "--job", job_id, "--output", str(output))
    assert f"{job_id} is failed" in part and "holds the answers that there are" in part
    assert pl.read_ndjson(output).height == 12
    document = say("batch", "--job", job_id, "--output", str(output), "--json")
    assert (document["state"], document["complete"]) == ("failed", False)


def test_a_key_that_may_only_predict_watches_and_cancels_its_own_batch(
    server: FaultServer, say: Cli, rows: Path, tmp_path: Path
) -> None:
    _, key = new_key(server, upm=10)
    job_id = say("batch", "people", "--input", str(rows), "--detach", "--json", key=key)["id"]
    until("the batch waits", lambda: any(event["phase"] == "wait" for event in server.events(job_id)))
    assert "rows.csv → people" in say("jobs", "show", job_id) and "goes on in" in say("jobs", "logs", job_id)
    say("jobs", "cancel", job_id)
    server.wait_job(job_id, "cancelled")
    output = tmp_path / "answers.csv"
    assert f"{job_id} is cancelled" in say("batch", "--job", job_id, "--output", str(output))
    assert 0 < pl.read_csv(output).height <= 10


def test_the_client_does_the_same_in_python(server: FaultServer, tmp_path: Path) -> None:
    with Client(home=server.home) as client:
        told: list[Any] = []
        job = client.batches.start("people", pl.DataFrame(PEOPLE), form="jsonl", chunk_rows=10)
        result = client.batches.wait(job.id, on_progress=told.append)
        assert (result.answered, result.cost, result.models) == (30, "0.03", ("people@1",))
        assert told[-1].cost == "0.03"
        client.batches.fetch(job.id, tmp_path / "answers.jsonl")
        lines = (tmp_path / "answers.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line) for line in lines] == answered(server, job.id) == flat(predicted(server, PEOPLE))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--input", "rows.csv", "--output", "a.csv"], "name a deployment"),
        (["people", "--job", "job-1", "--output", "a.csv"], "name a deployment"),
        (["people", "--output", "a.csv"], "--input"),
        (["people", "--input", "rows.csv"], "--output"),
        (["--job", "job-1", "--detach"], "--output"),
    ],
)
def test_wrong_usage_is_told(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", *words, "--url", "http://127.0.0.1:9", "--home", str(tmp_path), "--json"]) == 2
    assert told in msgspec.json.decode(capsys.readouterr().out)["error"]["detail"]


def test_an_output_that_names_no_form_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["batch", "people", "--input", "rows.csv", "--output", "answers.xlsx"]
    assert run([*words, "--url", "http://127.0.0.1:9", "--home", str(tmp_path), "--json"]) == 1
    assert ".parquet" in msgspec.json.decode(capsys.readouterr().out)["error"]["detail"]

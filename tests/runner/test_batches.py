"""Batches on a real server: every form of file, rows that do not fit, limits, and who may see what."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from batch_home import (
    ROW_COST,
    answered,
    batch_server,
    charged,
    csv_of,
    flat,
    lines_of,
    make_home,
    new_key,
    parquet_of,
    people,
    predicted,
    start,
)
from fault_server import FaultServer, until

from modeltap.client import Client, ConnectionFailed
from modeltap.client.transport import Transport
from modeltap.data.images import encode_png

PEOPLE = people(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with batch_server(tmp_path_factory.mktemp("batches") / "home") as started:
        yield started


def done(server: FaultServer, content: bytes, filename: str = "rows.jsonl", **more: Any) -> tuple[str, dict[str, Any]]:
    """The id and the result of a batch that went through."""
    job_id = start(server, content, filename, **more)
    result: dict[str, Any] = server.wait_job(job_id)["result"]
    return job_id, result


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("rows.csv", csv_of(PEOPLE)),
        ("rows.tsv.gz", gzip.compress(csv_of(PEOPLE, "\t", header=False))),
        ("rows.parquet", parquet_of(PEOPLE)),
    ],
)
def test_rows_get_the_answers_of_a_request_in_whatever_file_they_come(
    server: FaultServer, filename: str, content: bytes
) -> None:
    job_id, result = done(server, content, filename, chunk_rows=7)
    assert answered(server, job_id) == flat(predicted(server, PEOPLE))
    assert (result["rows"], result["answered"], result["refused"], result["models"]) == (60, 60, 0, ["people@1"])
    assert Decimal(result["cost"]) == 60 * ROW_COST


def test_the_output_holds_the_same_in_each_of_its_forms(server: FaultServer) -> None:
    job_id, _ = done(server, lines_of(PEOPLE), format="parquet", chunk_rows=11)
    wanted = answered(server, job_id)
    table = pl.read_parquet(io.BytesIO(server.client.get(f"/api/batches/{job_id}/output").content))
    assert table.to_dicts() == wanted
    text = server.client.get(f"/api/batches/{job_id}/output", params={"format": "csv"})
    assert text.headers["content-type"].startswith("text/csv") and text.headers["modeltap-job-state"] == "succeeded"
    assert pl.read_csv(text.content, schema=table.schema).to_dicts() == wanted


def test_rows_that_do_not_fit_are_told_and_free_and_keep_no_other_from_its_answer(server: FaultServer) -> None:
    key_id, key = new_key(server)
    rows: list[Any] = [*PEOPLE]
    wrong = {
        3: ({"age": "old", "city": "Ulm"}, "age: 'old' is not a number"),
        4: ({"age": 40, "town": "Ulm"}, "town: unknown column; known: age, city; city: missing; send null if it is not known"),
        17: ([1, 2, 3], "has 3 cells; the model takes 2: age, city"),
        30: ({"age": None, "city": "Ulm"}, "has no finite answer: a number in it lies too far outside of those that the model"),
        59: (7, "is 7; a row is an object of columns or an array of cells"),
    }
    for place, (row, _) in wrong.items():
        rows[place] = row
    lines = lines_of(rows).splitlines(keepends=True)
    lines[40] = b'{"age": NaN}\n'
    told = {**{place: why for place, (_, why) in wrong.items()}, 40: "line 41 is not JSON"}
    job_id, result = done(server, b"".join(lines), key=key, chunk_rows=25)
    answers = answered(server, job_id)
    good = [row for place, row in enumerate(rows) if place not in told]
    assert [one for one in answers if not one["error"]] == [
        {**one, "row": place + 1}
        for one, place in zip(flat(predicted(server, good)), [p for p in range(60) if p not in told], strict=True)
    ]
    for place, why in told.items():
        one = answers[place]
        assert one["error"].startswith(why) and one["row"] == place + 1
        assert {value for name, value in one.items() if name not in ("row", "error")} == {None}
    assert (result["answered"], result["refused"], len(result["errors"])) == (54, 6, 5)
    assert charged(server, key_id) == (54, 54 * ROW_COST) and Decimal(result["cost"]) == 54 * ROW_COST


def test_a_ragged_line_of_a_table_is_a_row_of_its_own(server: FaultServer) -> None:
    lines = csv_of(PEOPLE[:8]).splitlines(keepends=True)
    lines[3] = b"30,Ulm,one too many\n"
    job_id, result = done(server, b"".join(lines), "rows.csv")
    answers = answered(server, job_id)
    assert answers[2]["error"] == "line 4 has 3 cells, the header has 2" and result["refused"] == 1
    assert [one["row"] for one in answers if not one["error"]] == [1, 2, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("filename", "content", "told"),
    [
        (
            "rows.jsonl",
            b'{"weight": 1}\n{"weight": 2}\n',
            "none of the first 2 rows fits the model behind 'people'; row 1: weight",
        ),
        ("rows.json", b"[{", "'rows.json' is not JSON"),
    ],
    ids=["other-columns", "broken"],
)
def test_a_file_of_which_no_row_can_be_answered_fails_and_costs_nothing(
    server: FaultServer, filename: str, content: bytes, told: str
) -> None:
    key_id, key = new_key(server)
    job = server.wait_job(start(server, content, filename, key=key), "failed")
    assert job["error"]["code"] == "invalid_data" and told in job["error"]["detail"], job["error"]
    assert charged(server, key_id) == (0, 0)
    gone = server.client.get(f"/api/batches/{job['id']}/output")
    assert gone.status_code == 404 and "no row was answered" in gone.json()["detail"]


def test_pictures_come_in_a_zip_and_their_files_are_named(server: FaultServer) -> None:
    pixels = np.arange(40, dtype=np.uint8).reshape(10, 2, 2)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, picture in enumerate(pixels):
            archive.writestr(f"shelf/{number}.png", encode_png(picture))
        archive.writestr("shelf/7.png.txt", "a note")
        archive.writestr("broken.png", b"no picture")
    job_id, result = done(server, file.getvalue(), "pictures.zip", deployment="pictures")
    first, *others = answered(server, job_id)
    assert (first["file"], first["prediction"]) == ("broken.png", None) and "not a picture" in first["error"]
    assert [one["file"] for one in others] == [f"shelf/{number}.png" for number in range(10)]
    assert [one["prediction"] for one in others] == pixels.mean(axis=(1, 2)).tolist()
    assert (result["answered"], result["refused"]) == (10, 1)


def test_lines_of_plain_numbers_are_arrays_and_their_answers_lists(server: FaultServer) -> None:
    rows = np.arange(80).reshape(20, 4) / 8
    text = "\n".join(" , ".join(map(str, row)) for row in rows.tolist()).encode()
    job_id, _ = done(server, text, "numbers.csv", deployment="times", format="parquet")
    output = f"/api/batches/{job_id}/output"
    table = pl.read_parquet(io.BytesIO(server.client.get(output).content))
    assert table.schema["prediction"] == pl.List(pl.Float64)
    assert table["prediction"].to_list() == (2 * rows).tolist()
    as_text = pl.read_csv(server.client.get(output, params={"format": "csv"}).content)
    assert [msgspec.json.decode(cell) for cell in as_text["prediction"]] == (2 * rows).tolist()


def test_a_budget_is_used_to_its_last_row_and_the_batch_goes_on_when_there_is_more(server: FaultServer) -> None:
    key_id, key = new_key(server, budget_day="0.037")
    job_id = start(server, lines_of(PEOPLE), key=key)
    job = server.wait_job(job_id, "failed")
    assert (job["error"]["code"], job["error"]["limit"]) == ("insufficient_quota", "budget_day")
    assert charged(server, key_id) == (37, 37 * ROW_COST)
    wanted = flat(predicted(server, PEOPLE))
    assert answered(server, job_id) == wanted[:37]
    server.ask("PATCH", f"/api/keys/{key_id}", json={"limits": {"budget_day": "1"}})
    server.ask("POST", f"/api/jobs/{job_id}/resume", headers={"x-api-key": key})
    assert server.wait_job(job_id)["result"]["cost"] == "0.06"
    assert answered(server, job_id) == wanted
    assert charged(server, key_id) == (60, 60 * ROW_COST)


def test_a_batch_waits_for_a_rate_says_so_and_keeps_what_it_has_when_it_is_cancelled(server: FaultServer) -> None:
    key_id, key = new_key(server, upm=9)
    job_id = start(server, lines_of(PEOPLE), key=key)
    running = server.client.get(f"/api/batches/{job_id}/output")
    assert running.status_code == 409

    def waits() -> dict[str, Any] | None:
        told = [event for event in server.events(job_id) if event["phase"] == "wait"]
        return told[-1] if told else None

    told = until("the batch waits", waits)
    assert "9 units in any 60 s" in told["message"] and "goes on in" in told["message"]
    server.ask("POST", f"/api/jobs/{job_id}/cancel", headers={"x-api-key": key})
    server.wait_job(job_id, "cancelled")
    units, _ = charged(server, key_id)
    assert 0 < units <= 9
    assert answered(server, job_id) == flat(predicted(server, PEOPLE))[:units]
    assert server.client.get(f"/api/batches/{job_id}/output").headers["modeltap-job-state"] == "cancelled"


def test_requests_larger_than_a_rate_allows_at_all_are_made_smaller(server: FaultServer) -> None:
    key_id, key = new_key(server, upm=len(PEOPLE) + 1)
    job_id, result = done(server, lines_of([*PEOPLE, PEOPLE[0]]), key=key, chunk_rows=1000)
    assert result["answered"] == 61 and charged(server, key_id)[0] == 61
    assert len(answered(server, job_id)) == 61


def test_a_key_that_is_revoked_on_the_way_ends_its_batch(server: FaultServer) -> None:
    key_id, key = new_key(server, upm=9)
    job_id = start(server, lines_of(PEOPLE), key=key)
    until("the batch waits", lambda: any(event["phase"] == "wait" for event in server.events(job_id)))
    server.ask("DELETE", f"/api/keys/{key_id}")
    server.ask("POST", f"/api/jobs/{job_id}/pause")
    server.wait_job(job_id, "paused")
    server.ask("POST", f"/api/jobs/{job_id}/resume")
    error = server.wait_job(job_id, "failed")["error"]
    assert error["code"] == "forbidden" and "was revoked" in error["detail"]


def test_a_key_sees_its_own_batches_and_one_that_may_train_all_of_its_tenant(server: FaultServer) -> None:
    (_, own), (_, other) = new_key(server), new_key(server)
    trains = server.ask("POST", "/api/keys", json={"scopes": ["train"]})["key"]
    job_id, _ = done(server, lines_of(PEOPLE[:3]), key=own)
    paths = [f"/api/jobs/{job_id}", f"/api/jobs/{job_id}/log", f"/api/jobs/{job_id}/events", f"/api/batches/{job_id}/output"]
    for path in paths:
        for key, status in ((own, 200), (trains, 200), (other, 404)):
            assert server.client.get(path, headers={"x-api-key": key}).status_code == status, path
    cancelled = server.client.post(f"/api/jobs/{job_id}/cancel", headers={"x-api-key": other})
    assert cancelled.status_code == 404


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"deployment": "poeple"}, 404, "not_found"),
        ({"filename": "rows.xlsx"}, 422, "invalid_data"),
        ({"filename": "rows.parquet.gz"}, 422, "invalid_data"),
        ({"format": "xml"}, 400, "invalid_input"),
        ({"chunk_rows": "0"}, 400, "invalid_input"),
    ],
)
def test_what_cannot_become_a_batch_is_refused_before_it_is_sent(
    server: FaultServer, params: dict[str, str], status: int, code: str
) -> None:
    given = {"deployment": "people", "filename": "rows.csv", **params}
    answer = server.client.post("/api/batches", params=given, content=b"age,city\n1,Ulm\n")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert list((server.home / "uploads").iterdir()) == []


def test_an_empty_file_and_a_deployment_that_the_key_is_not_for_are_refused(server: FaultServer) -> None:
    empty = server.client.post("/api/batches", params={"deployment": "people", "filename": "rows.csv"})
    assert (empty.status_code, empty.json()["code"]) == (400, "invalid_input")
    key = server.ask("POST", "/api/keys", json={"scopes": ["predict"], "models": ["times"]})["key"]
    params = {"deployment": "people", "filename": "rows.csv"}
    refused = server.client.post("/api/batches", params=params, content=b"1,Ulm", headers={"x-api-key": key})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("path", ["/predict/people", "/v2/models/people/infer"])
def test_only_the_homes_own_key_acts_for_another_and_is_charged_as_it(server: FaultServer, path: str) -> None:
    key_id, key = new_key(server, upm=3)
    tensors = [
        {"name": "age", "datatype": "FP64", "shape": [2], "data": [20, 60]},
        {"name": "city", "datatype": "BYTES", "shape": [2], "data": ["Ulm", "Bonn"]},
    ]
    body = {"inputs": tensors} if "infer" in path else {"instances": PEOPLE[:2]}

    def send(**headers: str) -> Any:
        return server.client.post(path, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})

    as_key = send(modeltap_key=key_id)
    assert as_key.status_code == 200 and as_key.headers["x-ratelimit-remaining-tokens"] == "1"
    assert send(modeltap_key=key_id).status_code == 429
    assert charged(server, key_id) == (2, 2 * ROW_COST)
    assert send(modeltap_key="nobody").status_code == 404
    assert send(modeltap_key=key_id, modeltap_tenant="acme").status_code == 404
    assert send(modeltap_key=key_id, x_api_key=key).status_code == 403
    assert send(modeltap_key="admin").status_code == 200
    server.ask("DELETE", f"/api/keys/{key_id}")
    assert send(modeltap_key=key_id).status_code == 403


def test_a_request_may_say_that_it_can_wait_and_nothing_else(server: FaultServer) -> None:
    def send(word: str) -> Any:
        return server.client.post("/predict/people", json={"instances": PEOPLE[:1]}, headers={"modeltap-priority": word})

    assert send("bulk").json()["predictions"] == send("interactive").json()["predictions"]
    assert send("Bulk").status_code == 200
    refused = send("low")
    assert refused.status_code == 400 and "allowed: interactive, bulk" in refused.json()["detail"]


def certify(folder: Path) -> dict[str, str]:
    """The settings of a server with a certificate of its own, for a name that nobody looks up."""
    folder.mkdir()
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=models.example.org", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *named], check=True, capture_output=True)
    return {"MODELTAP_TLS_CERT": str(cert), "MODELTAP_TLS_KEY": str(key)}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_a_home_that_is_served_with_tls_answers_its_batches_and_trusts_its_own_certificate_alone(tmp_path: Path) -> None:
    server = FaultServer(make_home(tmp_path / "home"))
    try:
        server.launch(**certify(tmp_path / "own"))
        until("the server serves", lambda: (server.home / "server.json").exists())
        with Client(home=server.home) as client:
            assert client.url.startswith("https://")
            client.deployments.create("people@1", name="people")
            job = client.batches.start("people", lines_of(PEOPLE), filename="rows.jsonl")
            assert client.batches.wait(job.id).answered == len(PEOPLE)
            address = client.transport.address
        for other in (None, certify(tmp_path / "other")["MODELTAP_TLS_CERT"]):
            stranger = Transport(address._replace(certificate=other), timeout_s=30)
            with closing(stranger), pytest.raises(ConnectionFailed, match="certificate"):
                stranger.ask("GET", "/livez")
    finally:
        server.close()

"""The programs of examples/clients in every language: against a server that misbehaves, and against a real one."""

from __future__ import annotations

import csv
import io
import json
import shutil
import socket
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from checkout import read, table
from client_programs import FILES, FOLDER, PROGRAMS, Programs
from fault_server import serving
from misbehaving_server import Asked, Step, answered, misbehaving, refused
from sklearn.datasets import load_digits

from modeltap import Client
from modeltap.data.images import encode_png
from modeltap.errors import RateLimited

ROWS = [{"age": 39.5, "city": 'Aix, la "vieille"'}, {"age": None, "city": "Köln"}]
TENSORS = {"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [39.5]}]}
PREDICTED = {"predictions": [{"label": 'Aix "é"', "score": 0.75}], "model": "income@1", "id": "req-1"}
INFERRED = {"model_name": "income", "outputs": [{"name": "label", "shape": [1], "datatype": "BYTES", "data": ["Köln"]}]}
ANSWERS = {"/predict/income": answered(PREDICTED), "/v2/models/income/infer": answered(INFERRED)}
DETAIL = 'column "city" is \\ and not Köln; give a text'

LINES = {row[0]: row[-1] for row in table(read("examples/clients/README.md"))}
"""Program → the line that runs it."""

each_program = pytest.mark.parametrize("program", PROGRAMS)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def asked_files(tmp_path: Path) -> tuple[Path, Path]:
    return write_files(tmp_path, ROWS, TENSORS)


def write_files(folder: Path, rows: Any, tensors: Any) -> tuple[Path, Path]:
    paths = folder / "rows.json", folder / "tensors.json"
    for path, value in zip(paths, (rows, tensors), strict=True):
        path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    return paths


def expected(program: str) -> list[Any]:
    """The SDK's program asks in rows alone."""
    return [PREDICTED] if program == "sdk" else [PREDICTED, INFERRED]


def keys(tries: list[Asked]) -> set[str]:
    return {asked.headers["idempotency-key"] for asked in tries}


@each_program
def test_both_answers_are_printed_and_each_request_has_its_own_key(programs, program, asked_files):
    with misbehaving(answers=ANSWERS) as server:
        ran = programs.run(program, "income", *asked_files, url=f"{server.url}/")
    assert ran.status == 0, ran.err
    assert [json.loads(line) for line in ran.out.splitlines()] == expected(program)
    assert [msgspec.json.decode(asked.body) for asked in server.asked] == [{"instances": ROWS}, TENSORS][: len(server.asked)]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer mt-k"}
    assert len(keys(server.asked)) == len(server.asked) == len(expected(program))


@each_program
def test_it_waits_as_it_is_told_and_stays_with_its_key(programs, program, asked_files):
    """Two different ways to be put off for each of the two requests."""
    put_off = [
        refused(429, "rate_limit_exceeded", "60 requests a minute", retry_after_ms="7", retry_after="1"),
        Step(body=b'{"predictions": [', cut="middle"),
        ANSWERS["/predict/income"],
        refused(503, "model_loading", "it is being loaded", retry_after="1"),
        Step(409, b'{"error": "the first one is being answered"}'),
    ]
    with misbehaving(*put_off, answers=ANSWERS) as server:
        ran = programs.run(program, "income", *asked_files, url=server.url)
    assert ran.status == 0, ran.err
    assert [json.loads(line) for line in ran.out.splitlines()] == expected(program)
    tries = server.asked
    assert len(tries) == 3 * len(expected(program))
    assert len(keys(tries[:3])) == 1 and keys(tries[3:]).isdisjoint(keys(tries[:3])) and len(keys(tries[3:])) <= 1
    if program != "sdk":  # which repeats without a word
        notes = ran.err.splitlines()
        assert notes[0] == "429: 60 requests a minute; trying again in 0.007 s"
        assert notes[1].startswith("no answer from ")
        assert notes[2] == "503: it is being loaded; trying again in 1.000 s"
        assert notes[3].startswith("409: the first one is being answered; trying again in 0.")


@each_program
def test_it_gives_up_after_three_tries(programs, program, asked_files):
    busy = refused(503, "server_is_overloaded", "the queue is full", retry_after_ms="1")
    with misbehaving(*[busy] * 9) as server:
        ran = programs.run(program, "income", *asked_files, url=server.url)
    assert (ran.status, ran.out, len(server.asked)) == (1, "", 3)
    assert "the queue is full" in ran.err.splitlines()[-1]


@each_program
@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "121"},
        {"retry_after_ms": "120001", "retry_after": "1"},
        {"retry_after": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)},
        {"x_should_retry": "false", "retry_after": "1"},
    ],
    ids=["seconds", "milliseconds", "date", "word"],
)
def test_it_does_not_wait_in_vain(programs, program, asked_files, headers):
    with misbehaving(refused(429, "insufficient_quota", "the budget is spent", **headers), answers=ANSWERS) as server:
        ran = programs.run(program, "income", *asked_files, url=server.url)
    assert (ran.status, ran.out, len(server.asked)) == (1, "", 1)
    assert "the budget is spent" in ran.err


@each_program
def test_a_refusal_is_told_in_the_servers_words(programs, program, asked_files):
    fields = [{"field": "city", "detail": "another thing"}]
    body = {"type": "urn:modeltap:invalid_value", "code": "invalid_value", "detail": DETAIL, "errors": fields}
    plain = Step(422, msgspec.json.encode(body), {"content-type": "application/problem+json"})
    with misbehaving(plain, answers=ANSWERS) as server:
        ran = programs.run(program, "income", *asked_files, url=server.url)
    assert (ran.status, ran.out, len(server.asked)) == (1, "", 1)
    assert ran.err.strip().endswith(DETAIL), ran.err
    if program == "sdk":
        return
    v2 = Step(400, msgspec.json.encode({"error": DETAIL}), {"content-type": "application/json"})
    with misbehaving(ANSWERS["/predict/income"], v2, answers=ANSWERS) as server:
        ran = programs.run(program, "income", *asked_files, url=server.url)
    assert (ran.status, len(ran.out.splitlines()), len(server.asked)) == (1, 1, 2)
    assert ran.err.strip() == f"error: 400: {DETAIL}"


@each_program
def test_nobody_there_is_told_after_three_tries(programs, program, asked_files):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        ran = programs.run(program, "income", *asked_files, url=url)
    assert (ran.status, ran.out) == (1, "")
    assert url in ran.err.splitlines()[-1]
    assert program == "sdk" or ran.err.count("trying again") == 2


@each_program
def test_a_call_that_is_wrong_says_how_to_call_it(programs, program, asked_files):
    for arguments, url in (((), "http://127.0.0.1:1"), (("income", *asked_files), "")):
        ran = programs.run(program, *arguments, url=url)
        assert (ran.status, ran.out) == (2, "") and ran.err.startswith("usage: "), ran
    ran = programs.run(program, "income", "none.json", "none.json", url="http://127.0.0.1:1")
    assert ran.status == 1 and "none.json" in ran.err


def test_the_readme_names_every_program():
    programs = {path.name for path in FOLDER.iterdir() if path.suffix in (".py", ".mjs", ".java", ".cpp", ".sh")}
    assert set(LINES) == set(FILES.values()) == programs


@each_program
def test_every_line_of_the_readme_runs_as_it_stands(programs, program, tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "clients")
    answers = {"/predict/digits": answered(PREDICTED), "/v2/models/digits/infer": answered(INFERRED)}
    with misbehaving(answers=answers) as server:
        ran = programs.run_line(program, LINES[FILES[program]], folder, url=server.url)
    assert ran.status == 0, ran.err
    assert len(ran.out.splitlines()) == len(server.asked) == (1 if program == "sdk" else 2)


@dataclass(frozen=True)
class Served:
    """A real server with a deployment of trees over `people`, 0.25 a row, and as in the demo one of `digits`."""

    url: str
    key: str
    people: list[dict[str, Any]]

    def client(self) -> Client:
        return Client(self.url, self.key)

    def limited_key(self, **limits: int) -> str:
        """The text of a new key with these limits."""
        headers = {"x-api-key": self.key}
        made = httpx.post(f"{self.url}/api/keys", json={"limits": limits}, headers=headers, trust_env=False)
        return str(made.raise_for_status().json()["key"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    people = [
        {
            "age": None if number % 7 == 3 else 20.25 + number,
            "city": ("Köln", 'Aix, la "vieille"', "Ulm")[number % 3],
            "joined": f"20{10 + number % 10}-0{1 + number % 9}-11",
            "member": number % 2 == 0,
        }
        for number in range(60)
    ]
    kinds = ["dear" if number > 30 else "cheap" for number in range(60)]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([*people[0], "kind"])
    writer.writerows([*person.values(), kind] for person, kind in zip(people, kinds, strict=True))
    recipes = {
        "people": {
            "task": "tabular-classification",
            "model": {"architecture": "gradient-boosting", "max_iter": 8, "early_stopping_rounds": 0},
        },
        "digits": {
            "task": "image-classification",
            "model": {"architecture": "cnn", "filters": [4], "dense": 8, "dropout": 0.0},
            "epochs": 1,
        },
    }
    with serving(tmp_path_factory.mktemp("served") / "home") as server:
        made = Served(str(server.client.base_url).rstrip("/"), server.client.headers["x-api-key"], people)
        with made.client() as client:
            client.datasets.add(table.getvalue().encode(), filename="people.csv", name="people", target="kind")
            client.datasets.add(pictures(), filename="digits.zip", name="digits")
            jobs = {name: client.train(name, recipe=recipe, wait=False) for name, recipe in recipes.items()}
            for name, job in jobs.items():
                version = (client.jobs.wait(job.id).result or {})["version"]
                terms = {"price": {"row": "250"}} if name == "people" else {}
                server.ask("POST", "/api/deployments", json={"name": name, "model": version, "terms": terms})
        yield made


def pictures() -> bytes:
    """Handwritten digits as PNG files, in folders that are called as their class is."""
    digits = load_digits()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for place, (pixels, label) in enumerate(zip(digits.images[:100], digits.target[:100], strict=True)):
            archive.writestr(f"{label}/{place:04d}.png", encode_png((pixels * 15).astype(np.uint8)))
    return out.getvalue()


def tensors_of(people: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {"age": "FP64", "city": "BYTES", "joined": "BYTES", "member": "BOOL"}
    return {
        "inputs": [
            {"name": name, "shape": [len(people)], "datatype": datatype, "data": [person[name] for person in people]}
            for name, datatype in columns.items()
        ]
    }


@each_program
def test_every_program_gets_what_the_sdk_gets(programs, program, served, tmp_path):
    """Rows with umlauts, quotes, commas and missing values."""
    people = served.people[:9]
    with served.client() as client:
        answers = client.predict("people", people)
    files = write_files(tmp_path, people, tensors_of(people))
    ran = programs.run(program, "people", *files, url=served.url, key=served.key)
    assert ran.status == 0, ran.err
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert lines[0]["predictions"] == answers.answers and lines[0]["model"] == answers.model
    if program != "sdk":
        outputs = {output["name"]: output["data"] for output in lines[1]["outputs"]}
        assert outputs["label"] == [answer["label"] for answer in answers]


@each_program
def test_the_files_beside_the_programs_fit_the_digits_of_the_demo(programs, program, served):
    rows = json.loads((FOLDER / "rows.json").read_text(encoding="utf-8"))
    with served.client() as client:
        answers = client.predict("digits", rows)
    ran = programs.run(program, "digits", FOLDER / "rows.json", FOLDER / "tensors.json", url=served.url, key=served.key)
    assert ran.status == 0, ran.err
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert lines[0]["predictions"] == answers.answers
    if program != "sdk":
        (probabilities,) = [output["data"] for output in lines[1]["outputs"] if output["datatype"] == "FP32"]
        assert probabilities == pytest.approx([score for answer in answers for score in answer["scores"].values()])


@each_program
def test_what_the_real_server_refuses_is_told(programs, program, served, tmp_path):
    files = write_files(tmp_path, [{**served.people[0], "age": "old"}], TENSORS)
    ran = programs.run(program, "people", *files, url=served.url, key=served.key)
    assert (ran.status, ran.out) == (1, "") and "age" in ran.err
    ran = programs.run(program, "people", *files, url=served.url, key="mt-wrong-key")
    assert (ran.status, ran.out) == (1, "") and "key" in ran.err
    assert "trying again" not in ran.err


def test_an_answer_that_got_lost_is_given_again_and_not_charged_again(served):
    """The server answered and charged; the connection broke before the client had it."""
    seen: list[httpx.Response] = []

    def relay(asked: Asked) -> Step:
        kept = {name: asked.headers[name] for name in ("authorization", "content-type", "idempotency-key")}
        answer = httpx.request(asked.method, served.url + asked.path, content=asked.body, headers=kept, trust_env=False)
        seen.append(answer)
        return Step(cut="before") if len(seen) == 1 else Step(answer.status_code, answer.content, dict(answer.headers))

    key = served.limited_key(rpm=100, upm=100)
    with misbehaving(answers=relay) as between, Client(between.url, key) as client:
        answers = client.predict("people", served.people[:3])
    assert len(seen) == 2
    assert answers.raw == seen[0].json()
    assert answers.receipt.is_replayed and answers.cost is None
    with Client(served.url, key) as client:
        left = client.predict("people", served.people[:10]).receipt
    assert left.units is not None and left.units.limit - left.units.remaining == 3 + 10
    assert left.requests is not None and left.requests.limit - left.requests.remaining == 2


def test_an_answer_of_the_real_server_tells_what_it_cost_and_what_is_left(served):
    with Client(served.url, served.limited_key(rpm=2), max_retries=0) as client:
        answers = client.predict("people", served.people[:3])
        again = client.predict("people", served.people[:1])
        with pytest.raises(RateLimited) as caught:
            client.predict("people", served.people[:1])
    assert (answers.cost, again.cost, answers.model) == (Decimal("0.75"), Decimal("0.25"), "people@1")
    assert [one.receipt.requests.remaining for one in (answers, again) if one.receipt.requests] == [1, 0]
    assert answers.receipt.units is None
    assert answers.request_id == answers.id != again.request_id
    assert caught.value.limit == "rpm" and caught.value.request_id not in (None, again.request_id)
    assert caught.value.retry_after_s is not None and 0 < caught.value.retry_after_s <= 61

"""Where a client finds its server and key, and what its calls send and give back."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from scripted_server import Reply, Sent, json_reply, serve

from modeltap import Client
from modeltap.client import ConnectionFailed
from modeltap.errors import InvalidRecipe, InvalidValue, StorageFailed

SERVER = {"version": "0.1.0", "pid": 1, "home": "/h", "background": False}
PREDICTED = {"predictions": [{"label": "yes", "score": 0.75}], "model": "adult@1", "id": "r1"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELTAP_URL", "MODELTAP_KEY", "MODELTAP_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_url_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda sent: json_reply(SERVER)) as server:
        monkeypatch.setenv("MODELTAP_URL", server.url)
        monkeypatch.setenv("MODELTAP_KEY", "mt-env")
        with Client() as client:
            assert client.server().version == "0.1.0"
    assert server.sent[0].headers["authorization"] == "Bearer mt-env"


def test_the_homes_server_is_found_with_its_key(tmp_path: Path) -> None:
    with serve(lambda sent: json_reply(SERVER)) as server:
        (tmp_path / "server.json").write_bytes(msgspec.json.encode({"url": server.url, "pid": 1, "background": True}))
        (tmp_path / "admin.key").write_text("mt-home\n")
        with Client(home=tmp_path) as client:
            client.server()
    assert server.sent[0].headers["authorization"] == "Bearer mt-home"


def test_the_homes_key_is_not_sent_to_another_server(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_bytes(msgspec.json.encode({"url": "http://127.0.0.1:1", "pid": 1}))
    (tmp_path / "admin.key").write_text("mt-home\n")
    with serve(lambda sent: json_reply(SERVER)) as server, Client(server.url, home=tmp_path) as client:
        client.server()
    assert "authorization" not in {name.lower() for name in server.sent[0].headers}


def test_without_a_server_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="modeltap up"):
        Client(home=tmp_path)


def test_a_job_is_followed_to_the_server_that_took_over(tmp_path: Path) -> None:
    """`modeltap up` on a home takes another port than the server that ran in the background."""
    record = tmp_path / "server.json"
    end = b'event: state\ndata: {"id": "job-1", "kind": "train", "state": "succeeded"}\n\n'
    with serve(lambda sent: Reply(200, end, "text/event-stream")) as after:

        def moved(sent: Sent) -> Reply:
            record.write_bytes(msgspec.json.encode({"url": after.url, "pid": 1}))
            return Reply(200, b"", "text/event-stream")

        with serve(moved) as before:
            record.write_bytes(msgspec.json.encode({"url": before.url, "pid": 1}))
            with Client(home=tmp_path) as client:
                events = list(client.jobs.follow("job-1"))
    assert len(events) == 1 and client.url == after.url


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ([{"age": 1}], [{"age": 1}]),
        ({"age": 1}, [{"age": 1}]),
        ([[1, 2.5], [3, None]], [[1, 2.5], [3, None]]),
        (np.array([[1.0, np.nan]], dtype=np.float32), [[1.0, None]]),
        (pl.DataFrame({"born": [date(2000, 1, 2)], "n": [None]}), [{"born": "2000-01-02", "n": None}]),
        ([{"n": np.int64(3)}], [{"n": 3}]),
    ],
)
def test_rows_of_every_kind_arrive_as_instances(given: object, rows: list[object]) -> None:
    with serve(lambda sent: json_reply(PREDICTED)) as server, Client(server.url) as client:
        answers = client.predict("income", given)
    assert msgspec.json.decode(server.sent[0].body) == {"instances": rows}
    assert server.sent[0].path == "/predict/income"
    assert [a["label"] for a in answers] == ["yes"] and answers.model == "adult@1"


def test_csv_and_pictures_are_sent_as_they_are(tmp_path: Path) -> None:
    picture = tmp_path / "one.JPG"
    picture.write_bytes(b"\xff\xd8\xff")
    with serve(lambda sent: json_reply(PREDICTED)) as server, Client(server.url) as client:
        client.predict("income", csv="age\n1\n")
        client.predict(None, image=picture)
        with pytest.raises(InvalidValue, match="one of"):
            client.predict("income", [1], csv="age\n1\n")
    assert [(s.path, s.headers["content-type"], s.body) for s in server.sent] == [
        ("/predict/income", "text/csv", b"age\n1\n"),
        ("/predict", "image/jpeg", b"\xff\xd8\xff"),
    ]


def test_a_name_cannot_lead_to_another_path() -> None:
    with serve(lambda sent: json_reply({"removed": []})) as server, Client(server.url) as client:
        client.datasets.remove("../gc?x=1")
        with pytest.raises(InvalidValue):
            client.datasets.remove("..")
    assert [s.path for s in server.sent] == ["/api/datasets/..%2Fgc%3Fx%3D1"]


def test_an_export_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "adult.zip"
    with (
        serve(lambda sent: Reply(200, b"PK", "application/zip", breaks=True)) as server,
        Client(server.url) as client,
        pytest.raises(ConnectionFailed),
    ):
        client.models.export("adult@1", target)
    assert list(tmp_path.iterdir()) == []
    with serve(lambda sent: Reply(200, b"PK", "application/zip")) as server, Client(server.url) as client:
        assert client.models.export("adult@1", target) == target
        assert target.read_bytes() == b"PK"
        with pytest.raises(StorageFailed, match="cannot be written"):
            client.models.export("adult@1", tmp_path / "no" / "such" / "adult.zip")


def test_a_recipe_is_a_mapping_text_or_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("epochs: 3\n")
    rendered = {"recipe": {"epochs": 3}, "yaml": "epochs: 3\n"}
    with serve(lambda sent: json_reply(rendered)) as server, Client(server.url) as client:
        for recipe in ({"epochs": 3}, "epochs: 3", file, str(file)):
            assert client.render_recipe("t", recipe=recipe).recipe == {"epochs": 3}
        with pytest.raises(InvalidRecipe, match="cannot be read"):
            client.render_recipe("t", recipe=tmp_path / "none.yaml")
    assert [msgspec.json.decode(s.body)["recipe"] for s in server.sent] == [
        {"epochs": 3},
        "epochs: 3",
        "epochs: 3\n",
        "epochs: 3\n",
    ]


def test_the_whole_log_is_read_piece_by_piece() -> None:
    pieces = {0: ("one\n", 4), 4: ("two\n", 8), 8: ("", 8)}

    def answer(sent: Sent) -> Reply:
        text, offset = pieces[int(sent.params["offset"][0])]
        return json_reply({"text": text, "offset": offset})

    with serve(answer) as server, Client(server.url) as client:
        assert client.jobs.log("job-1") == "one\ntwo\n"

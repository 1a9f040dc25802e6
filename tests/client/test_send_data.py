"""What is sent for a file, a folder, parts and data frames; and what is refused before anything is sent."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import polars as pl
import pytest
from scripted_server import Reply, Sent, json_reply, problem, serve

from modeltap import Client
from modeltap.client.packing import open_upload
from modeltap.errors import InvalidData, InvalidValue, TooLarge

ADDED = {
    "id": "d@1",
    "name": "d",
    "version": 1,
    "digest": "00",
    "created": True,
    "schema": {"form": "table", "columns": []},
    "num_rows": {"rows": 2},
}


def test_a_file_is_sent_as_it_is_with_its_name_and_options(tmp_path: Path) -> None:
    path = tmp_path / "people;1.csv"
    path.write_bytes(b"age;income\n1;a\n")
    told = []
    with serve(lambda sent: json_reply(ADDED, 201)) as server, Client(server.url, "mt-key") as client:
        dataset = client.datasets.add(
            path,
            name="d",
            target="income",
            header=True,
            delimiter=";",
            missing=["?", "NA"],
            kinds={"age": "number", "a:b": "category"},
            image_size=(28, 14),
            on_upload=lambda sent, total: told.append((sent, total)),
        )
    (sent,) = server.sent
    assert dataset.id == "d@1" and dataset.created
    assert sent.body == path.read_bytes()
    assert told == [(15, 15)]
    assert sent.headers["authorization"] == "Bearer mt-key"
    assert {name: values for name, values in sent.params.items() if name != "wait"} == {
        "name": ["d"],
        "filename": ["people;1.csv"],
        "target": ["income"],
        "header": ["true"],
        "delimiter": [";"],
        "missing": ["?", "NA"],
        "kind": ["age:number", "a:b:category"],
        "image_size": ["28x14"],
    }


def test_a_big_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    with path.open("wb") as file:
        file.truncate(48 << 20)
    with serve(lambda sent: json_reply(ADDED, 201), keep_bodies=False) as server, Client(server.url) as client:
        tracemalloc.start()
        client.datasets.add(path, name="d")
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert server.sent[0].headers["content-length"] == str(48 << 20)
    assert peak_bytes < 16 << 20


def test_a_folder_becomes_an_archive_with_equal_bytes_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    for name in ("b/2.png", "a/1.png", "a/.DS_Store", "__MACOSX/x.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    with open_upload(folder) as upload:
        first, filename = upload.stream.read(), upload.filename
    (folder / "a/1.png").touch()
    with open_upload(folder) as upload:
        assert upload.stream.read() == first
    assert filename == "digits.zip"
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == ["a/1.png", "b/2.png"]
        assert archive.read("b/2.png") == b"b/2.png"


def test_given_parts_go_into_one_archive_by_their_part(tmp_path: Path) -> None:
    for name in ("adult.csv.gz", "holdout.csv.gz"):
        (tmp_path / name).write_bytes(name.encode())
    with (
        open_upload(tmp_path / "adult.csv.gz", test=tmp_path / "holdout.csv.gz", val=tmp_path / "adult.csv.gz") as upload,
        zipfile.ZipFile(upload.stream) as archive,
    ):
        assert {n: archive.read(n) for n in archive.namelist()} == {
            "train.csv.gz": b"adult.csv.gz",
            "val.csv.gz": b"adult.csv.gz",
            "test.csv.gz": b"holdout.csv.gz",
        }


def test_folders_as_parts_keep_their_classes(tmp_path: Path) -> None:
    for part in ("mine", "theirs"):
        (tmp_path / part / "cat").mkdir(parents=True)
        (tmp_path / part / "cat" / "1.png").write_bytes(b"png")
    with open_upload(tmp_path / "mine", test=tmp_path / "theirs") as upload, zipfile.ZipFile(upload.stream) as archive:
        assert archive.namelist() == ["train/cat/1.png", "test/cat/1.png"]


def test_a_polars_frame_arrives_as_parquet() -> None:
    frame = pl.DataFrame({"age": [1, None], "name": ["a", "b"]})
    with open_upload(frame) as upload:
        assert upload.filename == "data.parquet"
        assert pl.read_parquet(io.BytesIO(upload.stream.read())).equals(frame)


@pytest.mark.parametrize("given", ["nowhere.csv", "~/there/is/no/such.csv"])
def test_a_missing_file_is_told_before_anything_is_sent(given: str) -> None:
    with (
        serve(lambda sent: json_reply(ADDED, 201)) as server,
        Client(server.url) as client,
        pytest.raises(InvalidData, match="there is no file or folder"),
    ):
        client.datasets.add(given, name="d")
    assert server.sent == []


def test_what_cannot_be_data_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "hollow").mkdir()
    for given, told in ((tmp_path / "empty.csv", "is empty"), (tmp_path / "hollow", "holds no files")):
        with pytest.raises(InvalidData, match=told), open_upload(given):
            pass
    with pytest.raises(InvalidValue, match="filename"), open_upload(b"a,b\n"):
        pass
    with pytest.raises(InvalidValue, match="give a path"), open_upload(42):
        pass


def test_an_import_that_takes_long_is_waited_for() -> None:
    def answer(sent: Sent) -> Reply:
        job = {"id": "job-1", "kind": "import", "state": "succeeded", "result": ADDED}
        if sent.method == "POST":
            return json_reply({"job": {**job, "state": "running", "result": None}}, 202)
        if sent.path.endswith("/events"):
            return Reply(
                200, b'event: state\ndata: {"id": "job-1", "kind": "import", "state": "succeeded"}\n\n', "text/event-stream"
            )
        return json_reply(job)

    with serve(answer) as server, Client(server.url) as client:
        assert client.datasets.add(b"a,b\n1,2\n", name="d", filename="d.csv").id == "d@1"


def test_a_refused_upload_is_named() -> None:
    with (
        serve(lambda sent: problem(413, "too_large", "over the limit")) as server,
        Client(server.url) as client,
        pytest.raises(TooLarge, match="over the limit"),
    ):
        client.datasets.add(b"a,b\n1,2\n", name="d", filename="d.csv")

"""Archives and folders with tables in them: parts by name, and archives that mean harm."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from modeltap.data.read import read_source
from modeltap.data.source import ReadOptions, Source
from modeltap.errors import InvalidData


def pack(tmp_path: Path, files: Mapping[str, bytes | str]) -> Path:
    path = tmp_path / "blob"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read(tmp_path: Path, files: Mapping[str, bytes | str], **options: object) -> Source:
    return read_source(pack(tmp_path, files), filename="d.zip", options=ReadOptions(**options))  # type: ignore[arg-type]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(InvalidData) as caught:
        read_source(path, filename="d.zip", options=ReadOptions(**options))  # type: ignore[arg-type]
    return caught.value.message


TRAIN, TEST = "age,job\n1,a\n2,b\n", "age,job\n3,c\n"


@pytest.mark.parametrize(
    "names",
    [("train.csv", "test.csv"), ("d/data_train.csv", "d/data_test.csv"), ("train/part.csv", "test/part.csv")],
)
def test_parts_are_known_by_file_or_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    source = read(tmp_path, {names[0]: TRAIN, names[1]: TEST, "README.md": "about"})
    assert {part: rows.num_rows for part, rows in source.parts.items()} == {"train": 2, "test": 1}
    assert source.parts["test"].table.rows() == [("3", "c")]


def test_a_single_file_is_not_split(tmp_path: Path) -> None:
    assert list(read(tmp_path, {"d/data.csv": TRAIN, "d/LICENSE.txt": "mine"}).parts) == ["rows"]
    assert list(read(tmp_path, {"train.csv.gz": gzip.compress(TRAIN.encode())}).parts) == ["rows"]
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3)), y=[0, 1])
    assert read(tmp_path, {"x.npz": (tmp_path / "x.npz").read_bytes()}).form == "arrays"


def test_the_parts_have_the_same_columns_in_any_order(tmp_path: Path) -> None:
    source = read(tmp_path, {"train.csv": TRAIN, "test.csv": "job,age\nc,3\n"})
    assert source.parts["test"].table.rows() == [("3", "c")]
    message = refusal(pack(tmp_path, {"train.csv": TRAIN, "test.csv": "age,work\n3,c\n"}))
    assert "test lacks 'job'" in message
    assert "train lacks 'work'" in message


def test_a_part_without_a_header_takes_the_names_of_the_first(tmp_path: Path) -> None:
    assert read(tmp_path, {"train.csv": TRAIN, "test.csv": "3,c\n"}).parts["test"].table.rows() == [("3", "c")]
    both = read(tmp_path, {"train.csv": "1,a\n2,b\n", "test.csv": "3,c\n"})
    assert both.columns == ("column_1", "column_2")
    letters = read(tmp_path, {"train.csv": "a,x\nb,y\na,x\n", "test.csv": "c,z\nb,y\n"})
    assert letters.parts["test"].num_rows == 2


def test_types_that_differ_between_parts(tmp_path: Path) -> None:
    files = {"train.jsonl": '{"a": 1}\n', "test.jsonl": '{"a": true}\n'}
    assert "column 'a'" in refusal(pack(tmp_path, files))
    for unlabelled in ('{"a": 1.5}\n', '{"a": null}\n'):
        assert read(tmp_path, files | {"test.jsonl": unlabelled}).parts["test"].num_rows == 1


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["train.a.csv", "train.b.csv", "test.csv"], "several train files"),
        (["a.csv", "b.csv"], "several data files"),
        (["a.exe"], "allowed"),
        ([], "allowed"),
    ],
)
def test_archives_that_do_not_say_what_is_what(tmp_path: Path, names: list[str], told: str) -> None:
    assert told in refusal(pack(tmp_path, dict.fromkeys(names, TRAIN)))


@pytest.mark.parametrize("name", ["../evil.csv", "a/../../evil.csv", "/etc/evil.csv", "C:/evil.csv", "..\\evil.csv"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    assert "leads out" in refusal(pack(tmp_path, {"train.csv": TRAIN, name: TEST}))


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("data.csv")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert "a link" in refusal(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "data.csv").symlink_to("/etc/passwd")
    assert "a link" in refusal(folder)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    bomb = pack(tmp_path, {"data.csv": b"a,b\n" + b"1,2\n" * 500_000})
    assert bomb.stat().st_size < 10_000
    assert "more than 100,000 bytes" in refusal(bomb, max_unpacked_bytes=100_000)
    assert "more than 10 files" in refusal(pack(tmp_path, {f"{n}.csv": "a" for n in range(11)}), max_members=10)
    folder = tmp_path / "folder"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.csv").write_text(TRAIN)
    assert "more than 2 files" in refusal(folder, max_members=2)


def test_archives_that_are_broken(tmp_path: Path) -> None:
    whole = pack(tmp_path, {"data.csv": TRAIN * 50}).read_bytes()
    path = tmp_path / "blob"
    path.write_bytes(whole[:-10])
    assert "not a complete ZIP" in refusal(path)
    path.write_bytes(b"hello")
    assert "not a complete ZIP" in refusal(path)
    flipped = bytearray(whole)
    flipped[50] ^= 0xFF
    path.write_bytes(bytes(flipped))
    assert "'data.csv'" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("data.csv", TRAIN)
    assert "deflate" in refusal(path)
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(encrypted))
    assert "encrypted" in refusal(path)


def test_a_parquet_file_inside_an_archive(tmp_path: Path) -> None:
    packed = io.BytesIO()
    pl.DataFrame({"a": [1, 2]}).write_parquet(packed)
    assert read(tmp_path, {"d/data.parquet": packed.getvalue()}).parts["rows"].column("a") == [1, 2]

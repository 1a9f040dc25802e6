"""The demo's data is real, held out where it says so, and the same every time; its commands can be typed."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from modeltap.cli.demo_data import NUM_ASKED, DemoData, write_demo_data
from modeltap.cli.demo_story import typed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def data(folder: Path) -> tuple[DemoData, DemoData]:
    return write_demo_data(folder)


def test_all_digits_are_pictures_by_part_and_class(data: tuple[DemoData, DemoData]) -> None:
    digits, _ = data
    with zipfile.ZipFile(digits.path) as archive:
        names = archive.namelist()
        picture = Image.open(io.BytesIO(archive.read(names[0])))
    assert len(names) == 1797 and sum(name.startswith("test/") for name in names) == 360
    assert {name.split("/")[1] for name in names} == set("0123456789")
    assert (picture.size, picture.mode, picture.getextrema()[1]) == ((8, 8), "L", 239)


def test_questions_are_of_the_test_part_only(data: tuple[DemoData, DemoData]) -> None:
    digits, tumours = data
    with zipfile.ZipFile(digits.path) as archive:
        held_out = {archive.read(name): name.split("/")[1] for name in archive.namelist() if name.startswith("test/")}
    assert [held_out[q.picture] for q in digits.questions if q.picture] == [q.expected for q in digits.questions]
    assert len(digits.questions) == len(tumours.questions) == NUM_ASKED
    assert tumours.test is not None
    with tumours.test.open() as file:
        rows = [(row.pop("diagnosis"), {name: float(value) for name, value in row.items()}) for row in csv.DictReader(file)]
    assert all((q.expected, q.row) in rows for q in tumours.questions)


def test_the_files_are_the_same_every_time(data: tuple[DemoData, DemoData], folder: Path, tmp_path: Path) -> None:
    write_demo_data(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}


def test_commands_are_shown_as_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    assert typed(["data", "add", "/somebody/my data/x.zip", "--name", "a b"]) == "data add ~/'my data/x.zip' --name 'a b'"

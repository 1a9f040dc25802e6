"""Answers in chunks become one file with a line for every row, in each form the same."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from modeltap.data import answer_files
from modeltap.data.answer_chunks import AnswerFolder, Answers, Chunk
from modeltap.data.answer_columns import columns_of
from modeltap.data.answer_files import FORMS, write_answers


def chunks_of(*chunks: list[Any], names: bool = False) -> list[Answers]:
    """A chunk of each list; a text that begins with ! is the reason why that row has no answer."""
    made: list[Answers] = []
    first = 0
    for number, values in enumerate(chunks, start=1):
        left_out = {place: v[1:] for place, v in enumerate(values) if isinstance(v, str) and v.startswith("!")}
        given = [value for place, value in enumerate(values) if place not in left_out]
        chunk = Chunk(number=number, first=first, num_rows=len(values), left_out=left_out)
        files = [f"{first + place}.png" for place in range(len(values))] if names else None
        made.append(Answers(chunk=chunk, columns=columns_of(given), names=files))
        first += len(values)
    return made


def written(folder: Path, chunks: list[Answers]) -> pl.DataFrame:
    """The table that all three forms hold."""
    for form in FORMS:
        num_rows = write_answers(chunks, folder / f"out.{form}", form)
        assert num_rows == sum(answers.chunk.num_rows for answers in chunks)
    table = pl.read_parquet(folder / "out.parquet")
    flat = [name for name, dtype in table.schema.items() if dtype != pl.List(pl.Float64)]
    with (folder / "out.csv").open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    for row, values in zip(cells, table.iter_rows(named=True), strict=True):
        assert list(row) == table.columns
        assert {name: read(row[name], values[name]) for name in flat} == {name: values[name] for name in flat}
    lines = [msgspec.json.decode(line) for line in (folder / "out.jsonl").read_bytes().splitlines()]
    assert [{name: line[name] for name in flat} for line in lines] == table[flat].to_dicts()
    assert sorted(path.name for path in folder.iterdir()) == ["out.csv", "out.jsonl", "out.parquet"]
    return table


def read(cell: str, like: Any) -> Any:
    """A cell of a CSV file as the value that it should be."""
    if isinstance(like, bool):
        return {"true": True, "false": False}[cell]
    return cell if isinstance(like, str) else None if cell == "" else type(like)(cell)


def classes(label: str, **scores: float) -> dict[str, Any]:
    return {"label": label, "score": scores[label], "scores": scores}


def test_a_classifiers_answers_have_a_column_for_each_class(tmp_path: Path) -> None:
    tricky = 'a "b", c'
    table = written(
        tmp_path, chunks_of([classes("x", x=0.1, y=1e-7), "!age: no"], ["!line 3"], [classes(tricky, **{tricky: 2 / 3})])
    )
    assert table.columns == ["row", "label", "score", "score_x", "score_y", f"score_{tricky}", "error"]
    assert table["row"].to_list() == [1, 2, 3, 4]
    assert table["score_y"].to_list() == [1e-7, None, None, None]
    assert table[f"score_{tricky}"].to_list() == [None, None, None, 2 / 3]
    assert table["error"].to_list() == [None, "age: no", "line 3", None]


@pytest.mark.parametrize(
    ("chunks", "dtype", "values"),
    [
        (([1.5], [2]), pl.Float64, [1.5, 2.0]),
        (([1], ["!no"], [2**40]), pl.Int64, [1, None, 2**40]),
        (([2**63],), pl.Float64, [float(2**63)]),
        ((["a", ""], ["!no"]), pl.String, ["a", "", None]),
        (([True], [False]), pl.Boolean, [True, False]),
        (([[1, 2.5]], [[]], [None]), pl.List(pl.Float64), [[1.0, 2.5], [], None]),
        ((["!no"], ["!none"]), None, []),
    ],
    ids=["numbers", "whole", "huge", "texts", "truths", "lists", "none"],
)
def test_other_answers_have_one_column_of_their_kind(chunks: Any, dtype: Any, values: list[Any], tmp_path: Path) -> None:
    table = written(tmp_path, chunks_of(*chunks))
    assert ("prediction" in table.columns) == (dtype is not None)
    if dtype is not None:
        assert table.schema["prediction"] == dtype and table["prediction"].to_list() == values


def test_what_no_table_holds_is_json_there_and_itself_in_json_lines(tmp_path: Path) -> None:
    values = [[[1.0, 2.0], [3.0, 4.0]], {"a": 1}, 7, "seven"]
    given = [{"y": value} for value in values]
    for form in FORMS:
        write_answers(chunks_of(given[:2], given[2:]), tmp_path / f"out.{form}", form)
    for table in (pl.read_parquet(tmp_path / "out.parquet"), pl.read_csv(tmp_path / "out.csv")):
        assert [msgspec.json.decode(cell) for cell in table["y"]] == values
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line)["y"] for line in lines] == values


def test_outputs_called_like_our_own_columns_keep_apart(tmp_path: Path) -> None:
    table = written(tmp_path, chunks_of([{"row": 9, "error": "none", "y": 1.0}], names=True))
    assert table.to_dicts() == [{"row": 1, "file": "0.png", "output_row": 9, "output_error": "none", "y": 1.0, "error": None}]


def test_numbers_come_out_to_the_last_bit(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.123456789, math.pi * 1e-20]
    table = written(tmp_path, chunks_of(values))
    assert [value.hex() for value in table["prediction"]] == [value.hex() for value in values]


def test_a_long_table_is_written_in_parts_and_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_files, "GROUP_CELLS", 40)
    table = written(tmp_path, chunks_of(*[[float(n), n / 2] for n in range(60)]))
    assert table["row"].to_list() == list(range(1, 121)) and table["prediction"].sum() == 60 * 59 / 2 * 1.5


def test_what_is_kept_of_a_batch_is_read_up_to_the_first_gap(tmp_path: Path) -> None:
    folder = AnswerFolder(tmp_path)
    assert folder.read_plan() is None and list(folder) == []
    made = chunks_of([1.0], ["!no"], [2.0])
    folder.write_plan(made[2].chunk)
    for answers in (made[0], made[2]):
        folder.write_answers(answers)
    assert list(AnswerFolder(tmp_path)) == made[:1] and folder.read_plan() == made[2].chunk
    folder.write_answers(made[1])
    assert list(folder) == made
    (folder.folder / "00000002.json").write_bytes(b"")  # as a loss of power may leave it
    assert list(folder) == made[:1]
    folder.clear()
    assert list(folder) == []

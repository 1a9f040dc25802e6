"""Rows in a file are those that a request would bring, in whatever form and from any row on; what is no such file is told."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from modeltap.data.images import encode_png
from modeltap.data.row_files import COUNTED_BYTES, FileRow, kind_of, open_rows, plan_reading
from modeltap.data.rows import RowReader
from modeltap.domain.dataset import Column, Schema
from modeltap.errors import InvalidData

TABLE = Schema(
    form="table",
    columns=(
        Column(name="age", kind="number"),
        Column(name="city", kind="category"),
        Column(name="born", kind="datetime"),
        Column(name="kind", kind="category", role="target"),
    ),
)
PICTURE = Schema(form="images", columns=(Column(name="x", kind="image", shape=(2, 2)),))
ARRAY = Schema(form="arrays", columns=(Column(name="x", kind="array", shape=(2, 3)),))
ROWS = [
    {"age": number / 4, "city": ("Köln", 'Aix, la "vieille"', "two\nlines", "")[number % 4], "born": f"20{number:02d}-03-01"}
    for number in range(10, 50)
]


def csv_of(delimiter: str = ",", *, header: bool = True, newline: str = "\n") -> str:
    text = pl.DataFrame(ROWS).write_csv(separator=delimiter, include_header=header, line_terminator=newline)
    return str(text)


def parquet_of(table: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def lines_of(rows: list[Any]) -> bytes:
    return b"\n".join(map(msgspec.json.encode, rows))


def read(folder: Path, filename: str, content: bytes, schema: Schema = TABLE, *, skipped: int = 0) -> list[FileRow]:
    path = folder / "upload"
    path.write_bytes(content)
    with open_rows(path, filename, plan_reading(path, filename, schema)) as rows:
        found = list(rows.read(skipped))
        assert rows.num_rows == skipped + len(found) if len(content) < COUNTED_BYTES else rows.fraction() == 1.0
    return found


def typed(rows: list[Any], schema: Schema = TABLE) -> list[Any]:
    return [values.tolist() for values in RowReader(schema).rows(rows).values()]


FORMS = {
    "header": ("rows.csv", csv_of().encode()),
    "no-header": ("rows.CSV", csv_of(header=False).encode()),
    "byte-order-mark": ("rows.csv", csv_of().encode("utf-8-sig")),
    "tabs": ("rows.tsv", csv_of("\t").encode()),
    "semicolons": ("rows.data", csv_of(";", newline="\r\n").replace("\r\n2", "\r\n\r\n2", 1).encode()),
    "utf-16": ("rows.csv", csv_of().encode("utf-16")),
    "cp1252": ("rows.csv", csv_of().encode("cp1252")),
    "packed": ("rows.csv.gz", gzip.compress(csv_of().encode())),
    "json-lines": ("rows.jsonl", lines_of(ROWS) + b"\n\n"),
    "lines-of-arrays": ("rows.ndjson.gz", gzip.compress(lines_of([list(row.values()) for row in ROWS]))),
    "json": ("rows.json", b" " + msgspec.json.format(msgspec.json.encode(ROWS))),
    "json-with-mark": ("rows.json", "\ufeff".encode() + msgspec.json.encode(ROWS)),
    "instances": ("rows.json", msgspec.json.format(msgspec.json.encode({"instances": ROWS}))),
    "lines-called-json": ("rows.json", lines_of(ROWS)),
    "parquet": ("rows.parquet", parquet_of(pl.DataFrame(ROWS))),
    "parquet-of-dates": (
        "rows.pq",
        parquet_of(pl.DataFrame([{**row, "born": date.fromisoformat(str(row["born"]))} for row in ROWS])),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_mean_the_same_in_every_form_and_from_any_row_on(form: str, tmp_path: Path) -> None:
    found = read(tmp_path, *FORMS[form])
    assert not [row.error for row in found if row.error]
    assert typed([msgspec.json.decode(row.body) for row in found]) == typed(ROWS)
    for skipped in (1, 17, len(ROWS)):
        assert read(tmp_path, *FORMS[form], skipped=skipped) == found[skipped:]


def test_one_row_may_stand_alone(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "row.json", msgspec.json.format(msgspec.json.encode(ROWS[0])))
    assert msgspec.json.decode(row.body) == ROWS[0]


def test_what_is_no_row_keeps_its_place_with_the_reason(tmp_path: Path) -> None:
    lines = lines_of(ROWS[:4]).splitlines()
    lines[1] = b'{"age": NaN}'
    lines[2] = b"age=3"
    found = read(tmp_path, "rows.jsonl", b"\n".join(lines))
    assert [bool(row.body) for row in found] == [True, False, False, True]
    assert found[1].error.startswith("line 2 is not JSON") and "send null" in found[1].error
    ragged = read(tmp_path, "rows.csv", b"age,city,born\n1,Ulm,2001-01-01\n2,Ulm\n3,Ulm,2003-01-01\n")
    assert [row.error for row in ragged] == ["", "line 3 has 2 cells, the header has 3", ""]


def test_lines_of_numbers_are_whole_arrays_however_long(tmp_path: Path) -> None:
    values = np.arange(18.0).reshape(3, 2, 3)
    text = "\n".join(",".join(map(str, row)) for row in values.reshape(3, 6).tolist())
    found = read(tmp_path, "rows.csv", text.encode(), ARRAY)
    assert [msgspec.json.decode(row.body) for row in found] == values.tolist()
    side = 300
    large = Schema(form="arrays", columns=(Column(name="x", kind="array", shape=(side, side)),))
    text = "\n".join("\t".join(["0.125"] * side * side) for _ in range(2))
    found = read(tmp_path, "rows.tsv", text.encode(), large)
    assert [np.shape(msgspec.json.decode(row.body)) for row in found] == [(side, side)] * 2
    lists = parquet_of(pl.DataFrame({"x": values.reshape(3, 6).tolist(), "__index_level_0__": [0, 1, 2]}))
    assert [msgspec.json.decode(row.body) for row in read(tmp_path, "rows.parquet", lists, ARRAY)] == [
        {"x": row} for row in values.reshape(3, 6).tolist()
    ]


def test_pictures_of_an_archive_come_by_their_names(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in (2, 0, 1):
            archive.writestr(f"{number}.png", encode_png(np.full((2, 2), number, dtype=np.uint8)))
        archive.writestr("notes.txt", "three pictures")
    found = read(tmp_path, "pictures.zip", file.getvalue(), PICTURE)
    assert [row.name for row in found] == ["0.png", "1.png", "2.png"]
    assert typed([msgspec.json.decode(row.body) for row in found], PICTURE) == [[[[n, n], [n, n]] for n in range(3)]]
    damaged = bytearray(file.getvalue())
    damaged[damaged.index(b"IDAT") + 6] ^= 0xFF
    first, *others = read(tmp_path, "pictures.zip", bytes(damaged), PICTURE)
    broken = next(row for row in (first, *others) if row.error)
    assert not broken.body and "is broken" in broken.error and sum(bool(row.body) for row in (first, *others)) == 2


@pytest.mark.parametrize(
    ("filename", "content", "schema", "told"),
    [
        ("rows.xlsx", b"PK", TABLE, "of a kind that is not read here"),
        ("rows.parquet.gz", b"x", TABLE, "of a kind that is not read here"),
        ("rows.csv", b"  \n", TABLE, "is empty"),
        ("rows.csv", b"PAR1", TABLE, "it holds a Parquet file"),
        ("rows.json", b"[{", TABLE, "is not JSON"),
        ("rows.json", b"[]", TABLE, "holds no rows"),
        ("rows.json", b"7", TABLE, "is not JSON"),
        ("rows.parquet", b"PAR1 but no more", TABLE, "not a complete Parquet file"),
        ("rows.parquet", parquet_of(pl.DataFrame({"age": []})), TABLE, "holds no rows"),
        ("rows.zip", b"PK", TABLE, "takes no pictures"),
        ("rows.zip", b"PK", PICTURE, "not a complete ZIP archive"),
        ("rows.csv.gz", b"age", TABLE, "is broken or not complete"),
    ],
)
def test_what_is_no_file_of_rows_is_told(filename: str, content: bytes, schema: Schema, told: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=told):
        read(tmp_path, filename, content, schema)


def test_what_breaks_off_in_the_middle_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"'rows.csv', line 3 of the CSV cannot be read: a quote is opened and never closed"):
        read(tmp_path, "rows.csv", b'age,city,born\n1,Ulm,2001-01-01\n2,"Ulm,2001-01-01\n3,Ulm,2001-01-01\n')
    with pytest.raises(InvalidData, match=r"'rows.csv', line 3 of the CSV cannot be read: field larger"):
        read(tmp_path, "rows.csv", b'age,city,born\n1,Ulm,2001-01-01\n2,"' + b"x" * ((1 << 26) + 1) + b'",2001-01-01\n')


def test_a_kind_is_told_by_the_last_endings() -> None:
    assert [kind_of(name) for name in ("a.b.CSV", "rows.jsonl.gz", "r.pq", "shelf.zip")] == [
        "csv",
        "json-lines",
        "parquet",
        "pictures",
    ]

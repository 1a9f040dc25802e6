"""Parquet, JSON Lines and text files → native rows; nested, cut-off and broken ones are refused by name and line."""

from __future__ import annotations

import base64
import io
import zlib
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from modeltap.data.read import read_source
from modeltap.data.source import ReadOptions, Source
from modeltap.errors import InvalidData, NotFound

# 568 bytes of Parquet in which one byte of a page differs; decoding them made polars 2.1 abort its whole process.
DEADLY_PARQUET = (
    "c-jka3^EjD5e*Ub@)6||Wnf^?*sA|mLF*|4LkAO(S7u;nWNcyzW}30GFgYAxWOMNn6lD-y!6+J|BYK-zR6vwXlugErL4&ExOoFM*0A@yrE+fMS"
    "W*~0@Gb6Kc$1$mk5z128F3G(aYXo~u7j1MixyH!Acm5@dD37Em1Dk-"
    "P1Y@x%kJtoeu`5hs{}|PB)HqN~l@w%>1hGJbnJ9y#7*I$?EJt(}Bap=)$|R}d!BUi;Un0uHAj+f41T;;R!AAxt1vFApMp8!Y6_X5+R*C&$5)}i"
    "=iK;PxR7_x2;{YlX0a+-"
    ");}{g=A8u8goRONFC^3Uk9|Vl@9f80VL|Bvo`4xdsK3K@x(XrUk8B7N{Y6k%2%gaIHo{o;`$m+m^IY_<|EDx4+cLYm?I)XGic{)0QX;+YWKmb<"
    "f=onB1)MVibk^&(|4_`+H3BQ2+oW!DH1&xBrl8pR3O@*@5qT<Z_JOv{?Lp=ipjil1doD>D~G)n`cq!i<{v=k%rv@{E&6hjjubBja+%S0nf)3h|"
    "BH1ovN6iXvbNf}UJW-u}^1OU?v03fJ>CI"
)


def read(tmp_path: Path, content: str | bytes, name: str, **options: object) -> Source:
    path = tmp_path / "blob"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_source(path, filename=name, options=ReadOptions(**options))  # type: ignore[arg-type]


def refusal(tmp_path: Path, content: str | bytes, name: str, **options: object) -> str:
    with pytest.raises(InvalidData) as caught:
        read(tmp_path, content, name, **options)
    return caught.value.message


def parquet(table: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    table.write_parquet(out)
    return out.getvalue()


def test_parquet_keeps_native_values(tmp_path: Path) -> None:
    moment = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)
    table = pl.DataFrame(
        {
            "n": [1, None], "x": [0.5, None], "b": [True, None], "day": [date(2024, 1, 2), None],
            "at": pl.Series([moment, None], dtype=pl.Datetime("ns", "UTC")), "price": [Decimal("1.10"), None],
            "c": pl.Series(["a", "b"], dtype=pl.Categorical), "void": [None, None],
        }
    )  # fmt: skip
    rows = read(tmp_path, parquet(table), "data.parquet").parts["rows"]
    assert rows.column("n") == [1, None]
    assert np.isnan(rows.column("x")).tolist() == [False, True]
    assert rows.column("b") == [True, None]
    assert rows.column("day") == [date(2024, 1, 2), None]
    assert rows.column("at") == [moment.replace(tzinfo=None), None]
    assert rows.column("price") == [Decimal("1.10"), None]
    assert rows.column("c") == ["a", "b"]
    assert rows.column("void") == [None, None]


def test_parquet_that_cannot_be_used(tmp_path: Path) -> None:
    whole = parquet(pl.DataFrame({"a": list(range(1000))}))
    assert "not a complete Parquet file" in refusal(tmp_path, whole[:-50], "data.parquet")
    assert "not a complete Parquet file" in refusal(tmp_path, whole[:40] + whole[-9:], "data.parquet")
    assert "not a complete Parquet file" in refusal(tmp_path, b"a,b\n1,2\n", "data.parquet")
    assert "column 's'" in refusal(tmp_path, parquet(pl.DataFrame({"s": [{"k": 1}]})), "data.parquet")
    assert "column 's'" in refusal(tmp_path, parquet(pl.DataFrame({"s": [b"raw"]})), "data.parquet")
    assert "no rows" in refusal(tmp_path, parquet(pl.DataFrame({"a": []}, schema={"a": pl.Int64})), "data.parquet")
    assert "1,000 rows" in refusal(tmp_path, whole, "data.parquet", max_unpacked_bytes=10_000)


def test_a_damaged_parquet_file_does_not_kill_the_reader(tmp_path: Path) -> None:
    damaged = zlib.decompress(base64.b85decode(DEADLY_PARQUET))
    assert "not a complete Parquet file" in refusal(tmp_path, damaged, "data.parquet")


def test_lists_of_equal_length_are_an_array_column(tmp_path: Path) -> None:
    lines = '{"v": [1, 2.5], "label": "a"}\n{"v": [3, 4], "label": "b"}\n'
    table = pl.DataFrame({"v": [[1, 2.5], [3, 4]], "label": ["a", "b"]}, strict=False)
    for source in (read(tmp_path, lines, "data.jsonl"), read(tmp_path, parquet(table), "data.parquet")):
        assert source.form == "arrays"
        vectors = source.parts["rows"].column("v")
        assert isinstance(vectors, np.ndarray)
        assert vectors.tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert "row 2" in refusal(tmp_path, '{"v": [1, 2]}\n{"v": [3]}\n', "data.jsonl")
    assert "row 2 holds nothing" in refusal(tmp_path, '{"v": [1, 2]}\n{"w": 1}\n', "data.jsonl")
    assert "column 'v' is nested" in refusal(tmp_path, '{"v": [[1], [2, 3]]}\n', "data.jsonl")
    assert "one target alone" in refusal(tmp_path, '{"v": [1], "a": 1, "b": 2}\n', "data.jsonl")


def test_json_lines_fill_absent_keys_with_null(tmp_path: Path) -> None:
    source = read(tmp_path, '{"a": 1, "b": "x"}\n\n{"b": "y", "c": true}\n{"a": 2.5}\n', "data.jsonl")
    rows = source.parts["rows"]
    assert source.columns == ("a", "b", "c")
    np.testing.assert_array_equal(rows.column("a"), [1.0, np.nan, 2.5])
    assert rows.column("b") == ["x", "y", None]
    assert rows.column("c") == [None, True, None]


def test_a_json_array_of_objects(tmp_path: Path) -> None:
    source = read(tmp_path, '[{"a": 1},\n {"a": NaN},\n {"a": 3}]', "data.json")
    assert source.parts["rows"].num_rows == 3
    assert "line 2, column" in refusal(tmp_path, '[{"a": 1},\n {"a": }]', "data.json")


def test_mixed_json_values_become_texts_with_a_notice(tmp_path: Path) -> None:
    source = read(tmp_path, '{"a": 1}\n{"a": "x"}\n{"a": true}\n', "data.jsonl")
    assert source.parts["rows"].column("a") == ["1", "x", "true"]
    assert any("'a' mixes" in notice for notice in source.notices)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"a": 1}\n{"a": \n', "line 2"),
        ('{"a": 1}\n[1, 2]\n', "line 2"),
        ('{"a": 1}\n7\n', "line 2"),
        ('{"a": Infinity}\n', "line 1"),
        ('{"a": ' + "9" * 5000 + "}\n", "line 1"),
        ('{"a": ' + "[" * 100_000 + "\n", "line 1"),
        ('{"a": {"b": 1}}\n', "column 'a'"),
        ("{}\n{}\n", "no rows"),
        ("", "empty"),
    ],
)  # fmt: skip
def test_broken_json_lines_name_the_line(tmp_path: Path, content: str, told: str) -> None:
    assert told in refusal(tmp_path, content, "data.jsonl")


def test_a_text_file_is_one_document_with_its_lines(tmp_path: Path) -> None:
    source = read(tmp_path, "To be,\r\n\r\n or not to be \r\n", "play.txt")
    assert source.form == "texts"
    assert source.parts["rows"].column("text") == ["To be,\n\n or not to be \n"]


def test_a_path_where_nothing_lies(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_source(tmp_path / "gone", filename="data.csv")

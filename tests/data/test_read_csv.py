"""CSV and TSV files as people export them: delimiters, quotes, encodings, headers, and files that are broken."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltap.data.read import read_source
from modeltap.data.source import ReadOptions, Source
from modeltap.errors import InvalidData


def read(tmp_path: Path, content: str | bytes, name: str = "data.csv", **options: object) -> Source:
    path = tmp_path / "blob"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_source(path, filename=name, options=ReadOptions(**options))  # type: ignore[arg-type]


def rows(source: Source) -> list[tuple[str, ...]]:
    return source.parts["rows"].table.rows()


def refusal(tmp_path: Path, content: str | bytes, name: str = "data.csv", **options: object) -> str:
    with pytest.raises(InvalidData) as caught:
        read(tmp_path, content, name, **options)
    assert str(tmp_path) not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    text = "\n".join(delimiter.join(cells) for cells in [("age", "job", "pay"), ("39", "clerk", "1"), ("50", "cook", "0")])
    source = read(tmp_path, text)
    assert source.columns == ("age", "job", "pay")
    assert rows(source) == [("39", "clerk", "1"), ("50", "cook", "0")]


def test_delimiters_inside_quotes_do_not_count(tmp_path: Path) -> None:
    source = read(tmp_path, 'who;note\nAnn;"a, b, c; d"\nBob;"e, f, g"\n"Eve ""the"" ace";h\n')
    assert rows(source) == [("Ann", "a, b, c; d"), ("Bob", "e, f, g"), ('Eve "the" ace', "h")]


def test_semicolons_win_over_decimal_commas_even_without_a_header(tmp_path: Path) -> None:
    assert rows(read(tmp_path, "1,5;2,5\n3,5;4,25\n")) == [("1,5", "2,5"), ("3,5", "4,25")]


def test_single_quotes_and_quotes_behind_spaces(tmp_path: Path) -> None:
    assert rows(read(tmp_path, "a,b\n'x, y','it''s'\n'z','w'\n'u','v, v'\n")) == [("x, y", "it's"), ("z", "w"), ("u", "v, v")]
    assert rows(read(tmp_path, 'a, b\n1, "x, y"\n2, "z"\n')) == [("1", "x, y"), ("2", "z")]


def test_apostrophes_are_not_quotes(tmp_path: Path) -> None:
    assert rows(read(tmp_path, "who,n\nO'Brien,1\n'tis,2\n")) == [("O'Brien", "1"), ("'tis", "2")]


def test_line_ends_blank_lines_and_line_ends_inside_quotes(tmp_path: Path) -> None:
    source = read(tmp_path, 'a,b\r\n\r\n1,"two\r\nlines"\r\n   \r\n2,x\r\n\r\n')
    assert rows(source) == [("1", "two\r\nlines"), ("2", "x")]
    assert rows(read(tmp_path, "a,b\r1,2\r3,4")) == [("1", "2"), ("3", "4")]


def test_rows_of_nothing_are_skipped_and_told(tmp_path: Path) -> None:
    source = read(tmp_path, "a,b\n1,2\n,\n3,\n,,\n".replace(",,", ","))
    assert rows(source) == [("1", "2"), ("3", "")]
    assert any("2 rows" in notice for notice in source.notices)


def test_cells_stay_raw_and_names_are_trimmed(tmp_path: Path) -> None:
    source = read(tmp_path, " age , größe cm ,  日本 \n 39 , x,y \n")
    assert source.columns == ("age", "größe cm", "日本")
    assert rows(source) == [(" 39 ", " x", "y ")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-8"])
def test_unicode_encodings_are_found(tmp_path: Path, encoding: str) -> None:
    source = read(tmp_path, "name,n\nMüller,1\nSørensen,2\n".encode(encoding))
    assert source.columns == ("name", "n")
    assert rows(source) == [("Müller", "1"), ("Sørensen", "2")]
    assert source.notices == ()


def test_windows_1252_is_read_and_noted(tmp_path: Path) -> None:
    source = read(tmp_path, "name,n\nMüller – Söhne,1\n".encode("cp1252"))
    assert rows(source) == [("Müller – Söhne", "1")]
    assert any("Windows-1252" in notice for notice in source.notices)
    assert rows(read(tmp_path, "имя,n\nИван,1\n".encode("koi8-r"), encoding="koi8-r")) == [("Иван", "1")]


def test_a_missing_header_is_noticed(tmp_path: Path) -> None:
    source = read(tmp_path, "39, State-gov, <=50K\n50, Private, >50K\n")
    assert source.columns == ("column_1", "column_2", "column_3")
    assert len(rows(source)) == 2
    assert any("no header" in notice for notice in source.notices)


def test_columns_of_letters_without_a_header(tmp_path: Path) -> None:
    assert read(tmp_path, "p,x,s\ne,x,s\np,b,y\ne,b,s\n").columns == ("column_1", "column_2", "column_3")


def test_a_header_over_texts_alone(tmp_path: Path) -> None:
    source = read(tmp_path, "text,sentiment\nwhat a film,good\nso long,bad\nfine,good\n")
    assert source.columns == ("text", "sentiment")


def test_header_and_names_can_be_given(tmp_path: Path) -> None:
    source = read(tmp_path, "2019,2020\n1,2\n", header=True)
    assert source.columns == ("2019", "2020")
    source = read(tmp_path, "a,b\nx,y\n", header=False)
    assert rows(source) == [("a", "b"), ("x", "y")]
    source = read(tmp_path, "1,2\n3,4\n", columns=("left", "right"))
    assert source.columns == ("left", "right")
    assert len(rows(source)) == 2
    source = read(tmp_path, "a,b\n3,4\n", columns=("left", "right"))
    assert rows(source) == [("3", "4")]
    assert "2 columns" in refusal(tmp_path, "1,2\n", columns=("one",))
    assert "repeats" in refusal(tmp_path, "1,2\n", columns=("one", "one"))


def test_empty_and_repeated_names_are_made_unique(tmp_path: Path) -> None:
    source = read(tmp_path, ",x,x,x_2\n0,1,2,3\n1,4,5,6\n")
    assert source.columns == ("column_1", "x", "x_3", "x_2")
    assert any("column 1 has no name" in n for n in source.notices)
    assert any("'x_3'" in n for n in source.notices)


def test_one_column_with_commas_in_its_texts(tmp_path: Path) -> None:
    source = read(tmp_path, "review\nnice, but long\nshort\nwell, well, well\n")
    assert [row[0] for row in rows(source)] == ["nice, but long", "short", "well, well, well"]


def test_ragged_rows_are_refused_with_their_lines(tmp_path: Path) -> None:
    lines = ["a,b,c"] + ["1,2,3"] * 30
    lines[4] = "1,2"
    lines[9] = '1,"x\ny",2,3'
    message = refusal(tmp_path, "\n".join(lines))
    assert "line 5 (2)" in message
    assert "line 10 (4)" in message
    assert "3 columns" in message
    many = "a,b\n" + "1,2\n" * 40 + "1\n" * 20
    assert "and 10 more" in refusal(tmp_path, many)


def test_sloppy_quotes(tmp_path: Path) -> None:
    assert rows(read(tmp_path, 'who,n\n"Ann" Smith,1\n"Lee, Bob",2\n')) == [("Ann Smith", "1"), ("Lee, Bob", "2")]
    source = read(tmp_path, 'size\tn\n"half inch\t1\n3" pipe\t2\n"other\t3\n')
    assert rows(source) == [('"half inch', "1"), ('3" pipe', "2"), ('"other', "3")]
    assert "never closed" in refusal(tmp_path, 'a,b\n1,"x, y\n2,z\n3,w\n')


def test_a_very_long_cell_is_read(tmp_path: Path) -> None:
    text = "word " * 100_000
    assert rows(read(tmp_path, f'text,n\n"{text}",1\nshort,2\n'))[0][0] == text


def test_files_without_rows_are_refused(tmp_path: Path) -> None:
    assert "empty" in refusal(tmp_path, b"")
    assert "empty" in refusal(tmp_path, "\n\n  \n")
    assert "header and no rows" in refusal(tmp_path, "age,job\n")
    assert "no rows" in refusal(tmp_path, b"\xef\xbb\xbf\n")


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 20,
        b"a,b\n1,2\n\x00\x00,3\n",
        b"a,b\n1,\xff\x01\x02\n",
        b"\xff\xfea,b\n1,2",
        b"a,b\n1,2\n" * 9000 + b"\x00",
    ],
)
def test_binary_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "text" in refusal(tmp_path, content) or "UTF" in refusal(tmp_path, content)


def test_another_format_under_the_name_of_a_text_file(tmp_path: Path) -> None:
    assert "a ZIP archive" in refusal(tmp_path, b"PK\x03\x04rest of it")
    assert "a Parquet file" in refusal(tmp_path, b"PAR1....", "data.tsv")
    assert "allowed: CSV" in refusal(tmp_path, b"x", "data.xlsx")
    assert "allowed: CSV" in refusal(tmp_path, b"x", "data")


def test_gzip_is_unpacked_up_to_a_limit(tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    assert len(rows(read(tmp_path, packed, "data.CSV.gz"))) == 1000
    assert "more than 1,000 bytes" in refusal(tmp_path, packed, "data.csv.gz", max_unpacked_bytes=1000)
    assert "not complete" in refusal(tmp_path, packed[:-20], "data.csv.gz")
    assert "broken" in refusal(tmp_path, b"a,b\n1,2\n", "data.csv.gz")


def test_options_that_cannot_be(tmp_path: Path) -> None:
    assert "cannot be a delimiter" in refusal(tmp_path, "a,b\n1,2\n", delimiter="ab")
    assert "no text encoding 'zip'" in refusal(tmp_path, "a,b\n1,2\n", encoding="zip")
    assert "not ascii text" in refusal(tmp_path, "ä,b\n1,2\n", encoding="ascii")
    assert rows(read(tmp_path, "a:b\n1:2\n", delimiter=":")) == [("1", "2")]


CELL = st.text(st.sampled_from('ab1. ,;|\t"\n\réß日'), max_size=8)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    cells=st.lists(st.tuples(CELL.map(lambda text: "x" + text), CELL, CELL), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
)
def test_whatever_a_csv_writer_writes_comes_back(cells: list[tuple[str, str, str]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([("first", "second", "third"), *cells])
    with TemporaryDirectory() as folder:
        source = read(Path(folder), text.getvalue(), delimiter=delimiter, header=True)
    assert source.columns == ("first", "second", "third")
    assert [tuple(c.strip() for c in row) for row in rows(source)] == [tuple(c.strip() for c in row) for row in cells]

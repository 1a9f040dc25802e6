"""Wire value → typed input: however a value is written, it becomes the same number or text, and what does not fit is named."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from modeltap.data.cells import cell_parser, shown
from modeltap.data.images import encode_png
from modeltap.data.rows import RowReader, input_spec, parse_column
from modeltap.domain.dataset import DEFAULT_MISSING, Column, Schema
from modeltap.errors import InvalidValue

NUMBER = Column(name="x", kind="number")
COMMA = Column(name="x", kind="number", decimal=",")
TRUTH = Column(name="x", kind="boolean")
TIME = Column(name="x", kind="datetime")
WORD = Column(name="x", kind="category")
TARGET = Column(name="y", kind="category", role="target")
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def read(column: Column, value: Any, *, missing: tuple[str, ...] = DEFAULT_MISSING) -> float | str:
    return cell_parser(column, missing)(value)


def through_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def as_csv_cell(column: Column, text: str) -> float | str:
    """The value of a CSV line that holds this cell alone, quoted as CSV asks."""
    reader = RowReader(Schema(form="table", columns=(column, TARGET)))
    rows = reader.csv_rows('"' + text.replace('"', '""') + '"\n')
    value: float | str = reader.rows(rows)[column.name][0]
    return value


@given(FINITE)
@example(-0.0)
@example(1e308)
@example(5e-324)
@example(0.1)
def test_a_number_is_the_same_as_json_in_quotes_in_csv_and_natively(number):
    forms = [number, through_json(number), str(number), repr(number), f" {number!r} ", np.float64(number)]
    assert {read(NUMBER, form) for form in forms} == {number}
    assert as_csv_cell(NUMBER, repr(number)) == number
    assert parse_column(NUMBER, np.array([number]), missing=DEFAULT_MISSING)[0] == number
    exact = format(Decimal(number), "f")
    assert read(NUMBER, exact) == read(NUMBER, Decimal(number)) == number
    assert read(COMMA, exact.replace(".", ",")) == read(COMMA, number) == number


@given(st.integers(min_value=-(2**63), max_value=2**64))
def test_a_whole_number_is_the_same_in_every_type(number):
    forms = [number, through_json(number), str(number), f"{number}.0", Decimal(number), f"+{number}" if number >= 0 else number]
    if -(2**63) <= number < 2**63:
        forms.append(np.int64(number))
    assert {read(NUMBER, form) for form in forms} == {float(number)}


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=2))
def test_a_decimal_comma_with_and_without_dots_between_thousands(number):
    plain = f"{number:.2f}"
    grouped = f"{number:,.2f}".translate(str.maketrans(",.", ".,"))
    assert read(COMMA, grouped) == read(COMMA, plain.replace(".", ",")) == read(COMMA, plain) == float(number)


@pytest.mark.parametrize("marker", [*DEFAULT_MISSING, " NA ", "\t?"])
def test_every_marker_null_and_nan_are_missing(marker):
    for column in (NUMBER, COMMA, TRUTH, TIME):
        assert math.isnan(read(column, marker)), column.kind
        assert math.isnan(read(column, None))
        assert math.isnan(read(column, math.nan))
    assert read(WORD, marker) == read(WORD, None) == read(WORD, math.nan) == ""


@pytest.mark.parametrize("form", [-999, -999.0, "-999", "-999.0", " -999 ", "-9.99e2", Decimal("-999.00"), np.int64(-999)])
def test_a_number_that_means_missing_means_it_in_every_way_of_writing_it(form):
    missing = ("", "-999", "unknown")
    assert math.isnan(read(NUMBER, form, missing=missing))
    assert math.isnan(parse_column(NUMBER, np.array([-999.0]), missing=missing)[0])
    assert read(NUMBER, -998, missing=missing) == -998
    assert math.isnan(read(TRUTH, -999, missing=missing)) and read(WORD, -999, missing=missing) == ""
    assert read(WORD, -999.0, missing=missing) == read(WORD, "-999.0", missing=missing) == ""


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "t", "yes", "Y", "1", "on", " Yes ", True, 1, 1.0, np.bool_(True)])
def test_what_is_true(word):
    assert read(TRUTH, word) == 1.0


@pytest.mark.parametrize(
    "word", ["false", "False", "FALSE", "f", "no", "N", "0", "off", "\tno", False, 0, 0.0, np.bool_(False)]
)
def test_what_is_false(word):
    assert read(TRUTH, word) == 0.0


DAYS = st.dates(min_value=date(1000, 1, 1), max_value=date(9999, 12, 30))


@given(DAYS, st.sampled_from(["%d.%m.%Y", "%m/%d/%Y", "%d-%b-%Y", "%Y/%m/%d"]))
def test_a_day_is_the_same_in_its_own_form_in_iso_and_natively(day, form):
    column = Column(name="x", kind="datetime", date_format=form)
    written = day.strftime(form)
    seconds = (day - date(1970, 1, 1)).days * 86_400.0
    forms = [
        written,
        day.isoformat(),
        f"{day.isoformat()}T00:00:00",
        f"{day.isoformat()}T00:00:00Z",
        day,
        seconds,
        int(seconds),
    ]
    forms += [datetime(day.year, day.month, day.day), datetime(day.year, day.month, day.day, tzinfo=UTC)]
    assert {read(column, form) for form in forms} == {seconds}


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_the_same_with_every_offset(moment, minutes):
    utc = moment.replace(tzinfo=UTC)
    there = utc.astimezone(timezone(timedelta(minutes=minutes)))
    expected = utc.timestamp()
    assert read(TIME, moment.isoformat()) == read(TIME, moment.isoformat(" ")) == read(TIME, there.isoformat()) == expected
    assert read(TIME, there) == expected


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20))
def test_a_text_is_itself_without_the_space_around_it(text):
    value = read(WORD, text)
    assert value == read(WORD, f"  {text}\t") == read(WORD, value)
    assert value in (text.strip(), "") or value in ("true", "false") or text.strip().startswith(value)
    if text.strip() and "\r" not in text:
        assert as_csv_cell(WORD, text) == value


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ([1, 1.0, "1", "1.0", " 1.00 ", Decimal("1.0"), np.float64(1), np.int8(1)], "1"),
        ([-7, -7.0, "-7", "-7.0"], "-7"),
        ([0.5, "0.5", Decimal("0.5")], "0.5"),
        ([True, "true", "True", "TRUE", np.bool_(True)], "true"),
        ([False, "False"], "false"),
        ([date(2020, 5, 17), "2020-05-17"], "2020-05-17"),
        ([b"caf\xc3\xa9", "café"], "café"),
        (["007"], "007"),
        (["1.10"], "1.10"),
        (["01.0"], "01.0"),
    ],
)
def test_a_category_is_one_text_however_its_value_is_written(forms, expected):
    assert {read(WORD, form) for form in forms} == {expected}


@given(st.integers(-(10**12), 10**12) | st.booleans() | FINITE.map(lambda number: round(number, 3)))
def test_a_category_in_a_file_is_the_same_as_what_json_makes_of_its_value(value):
    assert read(WORD, through_json(value)) == as_csv_cell(WORD, json.dumps(value)) == read(WORD, value)


def test_labels_stay_as_the_file_has_them():
    assert [read(TARGET, text) for text in ("1.0", "True", " a.b c ", "<=50K.")] == ["1.0", "True", "a.b c", "<=50K."]


def test_dots_at_the_end_and_case_go_where_the_schema_says_so():
    column = Column(name="x", kind="category", normalize=("trailing-dots", "casefold"))
    assert {read(column, text) for text in ("<=50K.", "<=50K", " <=50k .", "<=50K. ")} == {"<=50k"}
    assert read(column, "STRASSE") == read(column, "Straße")


GERMAN = Column(name="x", kind="datetime", date_format="%d.%m.%Y")
WRONG: list[tuple[Column, Any, str]] = [
    (NUMBER, "1,5", "'1,5' is not a number"),
    (NUMBER, "1_000", "not a number"),
    (NUMBER, "0x10", "not a number"),
    (NUMBER, "inf", "not a finite number"),
    (NUMBER, math.inf, "not a finite number"),
    (NUMBER, 10**400, "too large"),
    (NUMBER, 10**5000, "thousands of digits"),
    (NUMBER, True, "send 1 or 0"),
    (COMMA, "1,234,5", "not a number"),
    (TRUTH, 2, "not a truth value"),
    (TRUTH, "ja", "not a truth value"),
    (TIME, "2023-02-29", "not a date"),
    (TIME, "1700000000", "not a date"),
    (TIME, 1e308, "seconds since 1970"),
    (TIME, 10**400, "seconds since 1970"),
    (TIME, -math.inf, "seconds since 1970"),
    (TIME, True, "not a date"),
    (GERMAN, "2.30.2020", "ISO 8601, such as 2026-11-22, or the form %d.%m.%Y"),
    (WORD, "a\0b", "NUL"),
    (WORD, b"\xff", "UTF-8"),
    (WORD, {}, "not a text"),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(WRONG)))
def test_a_cell_that_does_not_fit_says_what_is_allowed(place):
    column, value, told = WRONG[place]
    with pytest.raises(InvalidValue, match=re.escape(told)):
        read(column, value)


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | FINITE | st.text() | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_is_shown_of_a_value_is_short(value):
    assert len(shown(value)) <= 64


def table(*columns: Column, missing: tuple[str, ...] = DEFAULT_MISSING) -> RowReader:
    return RowReader(Schema(form="table", columns=columns, missing=missing))


READER = table(
    Column(name="id", kind="number", role="id"),
    Column(name="a", kind="number"),
    Column(name="b", kind="category"),
    Column(name="note", kind="text", role="ignored"),
    TARGET,
)


@given(
    st.lists(
        st.tuples(
            st.none() | FINITE, st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=5)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_rows_columns_and_csv_give_the_same_inputs(cells):
    assume(any(a is not None or (b or "").strip() for a, b in cells))
    objects = READER.rows([{"a": a, "b": b} for a, b in cells])
    arrays = READER.rows([[0, a, b, "x", "t"] for a, b in cells])
    columns = READER.columns({"a": [a for a, _ in cells], "b": [b for _, b in cells]})
    quoted = ['"' + (b or "").replace('"', '""') + '"' for _, b in cells]
    lines = [f"{'' if a is None else repr(a)},{b}" for (a, _), b in zip(cells, quoted, strict=True)]
    with_header = READER.rows(READER.csv_rows("\n".join(["a,b", *lines])))
    without = READER.rows(READER.csv_rows("\r\n".join(lines) + "\r\n"))
    semicolons = READER.rows(READER.csv_rows("\n".join(["b;a", *(";".join(reversed(li.split(",", 1))) for li in lines)])))
    for other in (arrays, columns, with_header, without, semicolons):
        assert np.array_equal(other["a"], objects["a"], equal_nan=True)
        assert other["b"].tolist() == objects["b"].tolist()


def test_a_header_is_known_by_the_models_columns_and_numbered_as_the_file_was():
    reader = table(Column(name="x", kind="number"), Column(name="x_2", kind="number"), Column(name="column_3", kind="number"))
    expected = {"x": [1.0], "x_2": [2.0], "column_3": [3.0]}
    for head in ("x,x,", " x , x ,", '"x","x",""', "x;x;"):
        body = "1;2;3" if ";" in head else "1,2,3"
        given_rows = reader.rows(reader.csv_rows(f"{head}\n{body}\n"))
        assert {name: values.tolist() for name, values in given_rows.items()} == expected, head


def test_commas_in_numbers_are_no_delimiters_where_the_data_has_a_decimal_comma():
    reader = table(COMMA, Column(name="z", kind="number", decimal=","), TARGET)
    for text in ("1,5;2,5\n", "1,5;2,5;t\n", "x;z;y\n1,5;2,5;t\n", 'x,z\n"1,5","2,5"\n', "1,5\t2,5\n", "1,5|2,5|t\n"):
        inputs = reader.rows(reader.csv_rows(text))
        assert (inputs["x"].tolist(), inputs["z"].tolist()) == ([1.5], [2.5]), text


def test_commas_in_texts_are_no_delimiters_where_only_semicolons_make_rows():
    reader = table(WORD, Column(name="z", kind="number"), TARGET)
    inputs = reader.rows(reader.csv_rows("Aix, la vieille;5\nUlm;6\n"))
    assert (inputs["x"].tolist(), inputs["z"].tolist()) == (["Aix, la vieille", "Ulm"], [5.0, 6.0])
    inputs = reader.rows(reader.csv_rows("a;b,5\nc;d,6\n"))
    assert inputs["x"].tolist() == ["a;b", "c;d"]


def test_lines_of_one_column():
    reader = table(NUMBER, TARGET)
    for text in ("1\n2\n", "x\n1\n2\n", "1,t\n2,t\n", "x,y\n1,t\n2,t\n", "1;t\n2;t\n"):
        assert reader.rows(reader.csv_rows(text))["x"].tolist() == [1.0, 2.0], text
    words = table(WORD)
    assert words.rows(words.csv_rows('a\n""\n"b,c"\n'))["x"].tolist() == ["a", "", "b,c"]


def test_a_bare_value_is_a_row_of_one_column():
    reader = table(NUMBER, TARGET)
    for row in (5, "5", [5], [5, "t"], {"x": 5}, {"x": "5", "y": None}):
        assert reader.rows([row])["x"].tolist() == [5.0]


def test_equal_cells_of_different_types_are_told_apart():
    """True == 1 == 1.0 to Python; only one of them may be a number here."""
    assert parse_column(WORD, [1, True, 1.0, "1"], missing=()).tolist() == ["1", "true", "1", "1"]
    with pytest.raises(InvalidValue, match="row 2: True is not a number"):
        parse_column(NUMBER, [1, True, 1.0], missing=())


def test_what_a_column_is_fed_as():
    specs = [input_spec(column) for column in (NUMBER, TRUTH, TIME, WORD)]
    assert [spec.datatype for spec in specs] == ["FP64", "FP64", "FP64", "BYTES"]
    image = input_spec(Column(name="p", kind="image", shape=(2, 3), datatype="UINT8"))
    assert (image.datatype, image.shape) == ("UINT8", (-1, 2, 3))


PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 6) * 20


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 1)])
def test_pixels_are_the_same_from_files_base64_and_numbers(shape):
    reader = RowReader(Schema(form="images", columns=(Column(name="p", kind="image", shape=shape, datatype="UINT8"), TARGET)))
    png = encode_png(PIXELS)
    text = base64.b64encode(png).decode()
    forms = [png, bytearray(png), text, f"data:image/png;base64,{text}", PIXELS, PIXELS.tolist(), PIXELS[..., None].tolist()]
    forms += [PIXELS.astype(float), PIXELS[None].tolist(), {"p": text}, {"p": PIXELS.tolist(), "y": "cat"}]
    for form in forms:
        assert np.array_equal(reader.rows([form])["p"], PIXELS.reshape(1, *shape))
    assert np.array_equal(reader.rows(reader.csv_rows(",".join(map(str, PIXELS.reshape(-1)))))["p"][0], PIXELS.reshape(shape))


def test_arrays_of_numbers_and_of_whole_numbers():
    floats = RowReader(Schema(form="arrays", columns=(Column(name="v", kind="array", shape=(3,)),)))
    for form in ([1, 2.5, 3], ["1", "2.5", "3"], [[1], [2.5], [3]], {"v": [1, 2.5, 3]}, np.array([1, 2.5, 3])):
        assert floats.rows([form])["v"].tolist() == [[1.0, 2.5, 3.0]]
    tokens = RowReader(Schema(form="arrays", columns=(Column(name="v", kind="array", shape=(2,), datatype="INT64"),)))
    assert tokens.rows([[1, 2.0]])["v"].tolist() == [[1, 2]]
    for wrong in ([1.5, 2], [1e300, 0], [2**63, 0], [-(2.0**63) * 2, 0], [math.nan, 0], [math.inf, 0], [2**64, 0], [None, 1]):
        with pytest.raises(InvalidValue):
            tokens.rows([wrong])
    assert tokens.rows([[-(2**63), 2**63 - 1]])["v"].tolist() == [[-(2**63), 2**63 - 1]]


@pytest.mark.filterwarnings("ignore")
@given(st.binary(max_size=200))
@example(encode_png(PIXELS)[:40])
@example(b"GIF89a" + b"\xff" * 50)
@example(b"II*\x00" + b"\xff" * 60)
@example(b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\0" * 40)
@example(b"BM" + b"\xff" * 80)
@example(b"\xff\xd8\xff\xe0" + b"\0" * 60)
def test_bytes_that_are_no_picture_are_refused_and_nothing_else_happens(data):
    reader = RowReader(Schema(form="images", columns=(Column(name="p", kind="image", shape=(2, 6), datatype="UINT8"),)))
    with pytest.raises(InvalidValue):
        reader.rows([data])


@pytest.mark.filterwarnings("ignore")
@given(st.data(), st.sampled_from(["PNG", "GIF", "BMP", "TIFF", "JPEG", "WEBP"]))
def test_a_damaged_picture_is_read_or_refused(data, kind):
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, kind)
    whole = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    reader = RowReader(Schema(form="images", columns=(Column(name="p", kind="image", shape=(2, 6), datatype="UINT8"),)))
    try:
        assert reader.rows([cut])["p"].shape == (1, 2, 6)
    except InvalidValue as refused:
        assert "object at" not in refused.message

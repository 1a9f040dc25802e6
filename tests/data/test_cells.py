"""A value means the same in every form in which it can arrive."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.data.cells import cell_parser
from modeltap.data.rows import RowReader, parse_column
from modeltap.domain.dataset import DEFAULT_MISSING, Column, Schema
from modeltap.errors import InvalidValue

NUMBER = cell_parser(Column(name="n", kind="number"), DEFAULT_MISSING)
COMMA = cell_parser(Column(name="n", kind="number", decimal=","), DEFAULT_MISSING)
TRUTH = cell_parser(Column(name="b", kind="boolean"), DEFAULT_MISSING)
TIME = cell_parser(Column(name="t", kind="datetime", date_format="%d.%m.%Y"), DEFAULT_MISSING)
TEXT = cell_parser(Column(name="c", kind="category"), DEFAULT_MISSING)
SCHEMA = Schema(
    form="table",
    columns=(
        Column(name="Größe", kind="number"),
        Column(name="art", kind="category", normalize=("trailing-dots",)),
        Column(name="kennung", kind="category", role="id"),
        Column(name="ja", kind="category", role="target"),
    ),
)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_as_json_as_quoted_text_and_in_csv(number: float) -> None:
    reader = RowReader(SCHEMA)
    cells = next(csv.reader(io.StringIO(f"{number!r},x")))
    forms = [json.loads(json.dumps(number)), str(number), f"  {number!r} ", np.float64(number), cells[0]]
    given_rows = reader.rows([{"Größe": form, "art": "x"} for form in forms])["Größe"]
    assert {value.tobytes() for value in given_rows} == {np.float64(number).tobytes()}


@pytest.mark.parametrize("missing", [None, "", " ", "?", "NA", "nan", "null", float("nan")])
def test_what_means_missing_is_missing_in_every_kind(missing: object) -> None:
    assert math.isnan(float(NUMBER(missing)))
    assert math.isnan(float(TRUTH(missing)))
    assert TEXT(missing) == ""
    if not isinstance(missing, float):
        assert math.isnan(float(TIME(missing)))


@pytest.mark.parametrize("wrong", ["abc", "1_000", "inf", "-Infinity", float("inf"), True, [1], {"a": 1}, b"x", "1 2"])
def test_what_is_no_number_is_refused_and_shown(wrong: object) -> None:
    with pytest.raises(InvalidValue, match="number"):
        NUMBER(wrong)


def test_a_decimal_comma_is_read_where_the_column_has_one() -> None:
    assert COMMA("1.234,5") == 1234.5
    assert COMMA("0,25") == 0.25
    assert COMMA(0.25) == 0.25
    with pytest.raises(InvalidValue):
        NUMBER("0,25")


@pytest.mark.parametrize(("form", "truth"), [("Yes", 1), ("FALSE", 0), ("t", 1), (True, 1), (0, 0), ("1", 1), (" no ", 0)])
def test_truths_in_their_spellings(form: object, truth: int) -> None:
    assert TRUTH(form) == truth


def test_a_day_is_the_same_in_its_own_form_in_iso_and_as_a_date() -> None:
    expected = datetime(2024, 2, 29, tzinfo=UTC).timestamp()
    forms = ["29.02.2024", "2024-02-29", "2024-02-29T00:00:00Z", date(2024, 2, 29), datetime(2024, 2, 29), expected]
    assert {TIME(form) for form in forms} == {expected}
    with pytest.raises(InvalidValue, match=r"%d\.%m\.%Y"):
        TIME("30.02.2024")


def test_a_category_is_the_same_as_text_and_as_number() -> None:
    assert TEXT(7) == TEXT("7") == TEXT(7.0) == TEXT(np.int64(7)) == TEXT(Decimal(7)) == "7"
    assert TEXT(True) == TEXT("true")
    assert TEXT(" Zürich ") == "Zürich"
    assert TEXT("01234") == "01234"


def test_rows_may_be_objects_arrays_and_csv_with_any_delimiter_with_or_without_header_and_target() -> None:
    reader = RowReader(SCHEMA)
    expected = reader.rows([{"Größe": 1.5, "art": "rot"}])
    given_forms = [
        reader.rows([[1.5, "rot."]]),
        reader.rows([["1.5", "rot", "K1", "ja"]]),
        reader.rows([[1.5, "rot", "K1"]]),
        reader.rows([{"Größe": "1.5", "art": "rot...", "kennung": None, "ja": "nein"}]),
        reader.rows(reader.csv_rows("1.5,rot")),
        reader.rows(reader.csv_rows("1.5;rot;K1;ja\r\n")),
        reader.rows(reader.csv_rows('art,Größe\n"rot",1.5\n')),
        reader.columns({"Größe": [1.5], "art": ["rot"]}),
    ]
    for form in given_forms:
        assert {name: values.tolist() for name, values in form.items()} == {"Größe": [1.5], "art": ["rot"]}
    assert {name: values.tolist() for name, values in expected.items()} == {"Größe": [1.5], "art": ["rot"]}


def test_a_wrong_column_is_named_with_the_nearest_and_what_lacks() -> None:
    with pytest.raises(InvalidValue, match=r"unknown column 'Grösse'; did you mean 'Größe'.*missing: Größe"):
        RowReader(SCHEMA).rows([{"Grösse": 1, "art": "x"}])


def test_every_wrong_row_is_listed() -> None:
    with pytest.raises(InvalidValue) as problem:
        parse_column(Column(name="n", kind="number"), ["1", "x", "3", "y"], missing=DEFAULT_MISSING)
    assert [where for where, _ in problem.value.fields] == ["[1].n", "[3].n"]

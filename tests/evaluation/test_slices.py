"""Slices have readable names, hold every row once, and refuse what cannot be sliced."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltap.errors import InvalidValue
from modeltap.evaluation.slices import slice_rows


def sliced(values, kind):
    groups = slice_rows({"c": (values, kind)}, ["c"], num_rows=len(values))["c"]
    return {value: rows.tolist() for value, rows in groups}


def test_categories_by_frequency_with_missing_last():
    assert sliced(["b", None, "a", "b", "", "a", "b"], "category") == {
        "b": [0, 3, 6],
        "a": [2, 5],
        "(empty)": [4],
        "(missing)": [1],
    }


def test_rare_categories_share_a_slice_that_no_category_can_be_taken_for():
    values = [f"v{i:02d}" for i in range(20) for _ in range(20 - i)] + ["other"] * 30
    groups = sliced(values, "category")
    assert next(iter(groups)) == "other"
    assert len(groups) == 13
    assert list(groups)[-1] == "(other: 9 values)"
    assert len(groups["(other: 9 values)"]) == sum(range(1, 10))


def test_numbers_in_quartiles_named_by_values_that_occur():
    ages = [float(age) for age in range(17, 57)]
    groups = sliced([*ages, float("nan")], "number")
    assert {value: len(rows) for value, rows in groups.items()} == {
        "up to 26": 10,
        "over 26 to 36": 10,
        "over 36 to 46": 10,
        "over 46": 10,
        "(missing)": 1,
    }


def test_names_of_close_numbers_are_kept_apart():
    groups = sliced([1.00001 + i * 1e-6 for i in range(8)], "number")
    assert len(groups) == 4


def test_mostly_equal_numbers():
    assert {v: len(r) for v, r in sliced([0.0] * 90 + [float(i) for i in range(1, 11)], "number").items()} == {
        "up to 0": 90,
        "over 0": 10,
    }
    assert {v: len(r) for v, r in sliced([9.0] * 90 + [0.5, 1, 2, 3], "number").items()} == {"up to 3": 4, "over 3": 90}


def test_few_numbers_are_slices_of_their_own():
    assert sliced([1, 0, 0.5, "1"], "number") == {"0": [1], "0.5": [2], "1": [0, 3]}


def test_booleans():
    assert sliced([True, False, None, True], "boolean") == {"true": [0, 3], "false": [1], "(missing)": [2]}
    assert sliced([1.0, 0.0], "boolean") == {"false": [1], "true": [0]}


def test_dates_and_texts_in_quartiles():
    dates = [f"2024-0{month}-01" for month in range(1, 9)]
    expected = ["up to 2024-02-01", "after 2024-02-01 to 2024-04-01", "after 2024-04-01 to 2024-06-01"]
    assert list(sliced(dates, "datetime")) == [*expected, "after 2024-06-01"]
    seconds = [datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() for date in dates]
    assert sliced(seconds, "datetime") == sliced(dates, "datetime")
    hours = [f"2024-01-01T{hour:02d}:30:00Z" for hour in range(8)]
    assert next(iter(sliced(hours, "datetime"))) == "up to 2024-01-01 01:30:00"
    assert list(sliced(["x" * n for n in range(8)], "text"))[:2] == ["up to 1 characters", "over 1 to 3 characters"]


@settings(derandomize=True)
@given(
    st.one_of(
        st.tuples(st.lists(st.none() | st.floats(allow_nan=True), min_size=1), st.just("number")),
        st.tuples(st.lists(st.none() | st.text(), min_size=1), st.sampled_from(["category", "text"])),
        st.tuples(st.lists(st.none() | st.booleans(), min_size=1), st.just("boolean")),
    )
)
def test_every_row_is_in_one_slice_and_names_differ(column):
    values, kind = column
    groups = slice_rows({"c": (values, kind)}, ["c"], num_rows=len(values))["c"]
    rows = np.concatenate([group.rows for group in groups])
    assert sorted(rows.tolist()) == list(range(len(values)))
    assert all(len(group.rows) for group in groups)
    assert len({group.value for group in groups}) == len(groups)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"agee": ([1.0, 2.0], "number")}, "no column 'age' to slice by; did you mean 'agee'"),
        (None, "no column 'age'"),
        ({"age": ([1.0], "number")}, "1 values for 2 evaluated rows"),
        ({"age": (["a", "2"], "number")}, "has the value 'a'; to slice by a number, give numbers"),
        ({"age": (["1.2.2024", "2.2.2024"], "datetime")}, "give ISO 8601 dates"),
        ({"age": ([None, None], "image")}, "holds an image in each row"),
    ],
)
def test_what_cannot_be_sliced_is_refused(columns, message):
    with pytest.raises(InvalidValue, match=message):
        slice_rows(columns, ["age"], num_rows=2)

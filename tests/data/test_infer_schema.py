"""What columns hold and are for, inferred from values as people write them, and what overrides change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltap.data.infer import infer_schema
from modeltap.data.infer_overrides import override_columns
from modeltap.data.rows import parse_column
from modeltap.data.source import PartRows, Source
from modeltap.domain.dataset import Column, Part, Schema
from modeltap.errors import InvalidData


def table(columns: Mapping[str, Sequence[Any]], test: Mapping[str, Sequence[Any]] | None = None) -> Source:
    parts: dict[Part, PartRows] = {"rows": PartRows(pl.DataFrame(dict(columns)))}
    if test is not None:
        parts = {"train": parts["rows"], "test": PartRows(pl.DataFrame(dict(test)))}
    return Source("table", tuple(columns), parts)


def infer(values: Sequence[Any], name: str = "c", **options: Any) -> tuple[Column, list[str]]:
    """The column of these values, beside a feature that keeps it from being the only one."""
    other = [str(n % 3) for n in range(len(values))]
    schema, notices = infer_schema(table({"other": other, name: values}), **options)
    column = schema.column(name)
    assert column is not None
    return column, notices


def read_back(column: Column, values: Sequence[Any], schema: Schema | None = None) -> list[Any]:
    missing = schema.missing if schema else ("", "?")
    return list(parse_column(column, values, missing=missing).tolist())


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1", "2", " 30 "], [1, 2, 30]),
        (["1e-3", "+5", "-.5"], [0.001, 5, -0.5]),
        (["1.", "2.25", "1E5"], [1, 2.25, 1e5]),
        (["0", "1", "0"], [0, 1, 0]),
        (["1,5", "2", "-3,25"], [1.5, 2, -3.25]),
        (["1.234,5", "12,5", "7,25"], [1234.5, 12.5, 7.25]),
        (["0,125", "1,250", "0,500"], [0.125, 1.25, 0.5]),
    ],
)
def test_numbers(cells: list[str], numbers: list[float]) -> None:
    column, _ = infer(cells)
    assert column.kind == "number"
    assert read_back(column, cells) == numbers


@pytest.mark.parametrize(
    "cells",
    [
        ["01234", "98765", "00501"],
        ["4111111111111111", "4111111111111112", "4111111111111111"],
        ["1,234", "950", "12,500"],
        ["1.5", "1,5", "2"],
        ["12 kg", "13 kg", "12 kg"],
        ["1_000", "2_000", "1_000"],
        ["٣", "٤", "٣"],
        ["1", "2", "three"],
        ["2024-02-30", "2024-01-01", "2024-01-02"],
        ["a", "b", "a"],
    ],
)
def test_what_looks_like_a_number_and_is_a_category(cells: list[str]) -> None:
    column, _ = infer([*cells, *cells])
    assert column.kind == "category"
    assert read_back(column, cells) == cells


def test_thousands_separators_are_told() -> None:
    _, notices = infer(["1,234", "950", "12,500"] * 2)
    assert any("thousands separator" in notice for notice in notices)
    _, notices = infer(["0,125", "1,250", "0,500"])
    assert any("decimal comma" in notice for notice in notices)


@pytest.mark.parametrize("cells", [["true", "False", "TRUE"], ["yes", "no", "Yes"], ["t", "f", "t"], ["Y", "N", "N"]])
def test_truths(cells: list[str]) -> None:
    column, _ = infer(cells)
    assert column.kind == "boolean"
    assert read_back(column, cells) == [float(cell.lower() in ("true", "yes", "t", "y")) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "form", "first"),
    [
        (["2024-03-01", "2024-12-31"], None, datetime(2024, 3, 1)),
        (["2024-03-01T10:00:00Z", "2024-12-31 10:30"], None, datetime(2024, 3, 1, 10)),
        (["2024-03-01T10:00:00.250+02:00", "2024-03-02"], None, datetime(2024, 3, 1, 8, 0, 0, 250_000)),
        (["31.12.2023", "1.2.2024"], "%d.%m.%Y", datetime(2023, 12, 31)),
        (["01.02.2024", "02.03.2024"], "%d.%m.%Y", datetime(2024, 2, 1)),
        (["31/12/2023", "01/02/2024"], "%d/%m/%Y", datetime(2023, 12, 31)),
        (["12/31/2023", "01/02/2024"], "%m/%d/%Y", datetime(2023, 12, 31)),
        (["01/02/2024", "03/04/2024"], "%m/%d/%Y", datetime(2024, 1, 2)),
        (["2023/12/31", "2024/1/2"], "%Y/%m/%d", datetime(2023, 12, 31)),
        (["31-Dec-2023", "01-Feb-2024"], "%d-%b-%Y", datetime(2023, 12, 31)),
        (["31.12.2023 18:05", "01.02.2024 07:30"], "%d.%m.%Y %H:%M", datetime(2023, 12, 31, 18, 5)),
        (["12/31/2023 6:05 PM", "01/02/2024 7:30 AM"], "%m/%d/%Y %I:%M %p", datetime(2023, 12, 31, 18, 5)),
        (["12/31/2023 18:05:09.5", "01/02/2024 7:30:00.25"], "%m/%d/%Y %H:%M:%S.%f", datetime(2023, 12, 31, 18, 5, 9, 500_000)),
    ],
)  # fmt: skip
def test_dates(cells: list[str], form: str | None, first: datetime) -> None:
    column, notices = infer([*cells, "", *cells])
    assert (column.kind, column.date_format) == ("datetime", form)
    seconds = (first - datetime(1970, 1, 1)).total_seconds()
    assert read_back(column, cells)[0] == seconds
    ambiguous = all(int(part) <= 12 for cell in cells for part in cell.replace(".", "/").split("/")[:2] if part.isdigit())
    assert any("was taken" in notice for notice in notices) == (ambiguous and form in ("%d.%m.%Y", "%m/%d/%Y"))


CELLS = ("1", "-2.5", "1,5", "x", "true", "2024-01-01", "01.02.2024", "?", "", " ", "007", "NA")


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.lists(st.sampled_from(CELLS), min_size=2))
def test_every_cell_can_be_read_as_inferred(cells: list[str]) -> None:
    schema, _ = infer_schema(table({"other": [str(n % 2) for n in range(len(cells))], "c": cells}))
    column = schema.column("c")
    assert column is not None
    assert len(read_back(column, cells, schema)) == len(cells)


def test_native_values_keep_their_kind() -> None:
    columns = {
        "n": [1, 2, 2], "x": [0.5, None, 2.0], "b": [True, False, None], "d": [date(2024, 1, 1), date(2024, 1, 2), None],
        "t": [datetime(2024, 1, 1, 3), None, None], "p": [Decimal("1.5"), Decimal("2.5"), None],
    }  # fmt: skip
    schema, _ = infer_schema(table(columns))
    assert [c.kind for c in schema.columns] == ["number", "number", "boolean", "datetime", "datetime", "number"]


def test_free_text_is_ignored_in_a_table() -> None:
    texts = [f"this is review number {n} of the shop" for n in range(30)]
    schema, notices = infer_schema(table({"a": ["1", "2", "3"] * 10, "b": ["x", "y"] * 15, "review": texts}), target="b")
    assert schema.form == "table"
    column = schema.column("review")
    assert column is not None
    assert (column.kind, column.role) == ("text", "ignored")
    assert any("review" in notice for notice in notices)
    names = [f"name{n}" for n in range(200)]
    assert infer(names)[0].kind == "text"
    assert infer(["a long answer of many words", "another long answer of words"] * 20)[0].kind == "category"


def test_one_text_and_one_label_are_texts() -> None:
    texts = [f"this film is number {n} on my list" for n in range(30)]
    schema, notices = infer_schema(table({"column_1": texts, "column_2": ["0", "1"] * 15}))
    assert schema.form == "texts"
    assert [c.name for c in schema.features] == ["column_1"]
    assert schema.target is not None
    assert schema.target.name == "column_2"
    assert any("target" in notice for notice in notices)
    schema, _ = infer_schema(table({"said": texts, "who": ["a", "b"] * 15}), target="who")
    assert schema.form == "texts"


def test_missing_markers_are_found_and_told() -> None:
    source = table({"a": ["1", "?", " NA "], "b": ["x", "", None]})
    schema, notices = infer_schema(source)
    assert schema.columns[0].kind == "number"
    told = next(notice for notice in notices if "missing values" in notice)
    assert "'?' (1 cell)" in told
    assert "nothing (2 cells)" in told


def test_an_unusual_marker_among_numbers_is_missing() -> None:
    schema, notices = infer_schema(table({"a": ["1", "-", "3", "-"], "b": ["x", "y", "x", "-"]}))
    assert schema.columns[0].kind == "number"
    assert "-" in schema.missing
    assert np.isnan(read_back(schema.columns[0], ["-"], schema)[0])
    assert any("'-' (3 cells)" in notice for notice in notices)


def test_given_markers_replace_the_usual_ones() -> None:
    schema, _ = infer_schema(table({"a": ["1", "none", "3"], "b": ["?", "y", "?"]}), missing=("none",))
    assert schema.missing == ("", "none")
    assert schema.columns[0].kind == "number"
    assert read_back(schema.columns[1], ["?"], schema) == ["?"]


def test_columns_without_use() -> None:
    source = table({"same": ["7"] * 4, "void": ["", "?", None, "NA"], "x": ["1", "2", "2", "4"], "some": ["a", "", "a", "a"]})
    schema, notices = infer_schema(source)
    assert {c.name: c.role for c in schema.columns} == {"same": "ignored", "void": "ignored", "x": "feature", "some": "feature"}
    assert schema.columns[0].kind == "number"
    assert any("'same' holds '7' in every row" in notice for notice in notices)
    assert any("'void' holds no value" in notice for notice in notices)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("id", ["7", "3", "9"]),
        ("PassengerId", [5, 2, 1]),
        ("user_id", ["u5", "u2", "u1"]),
        ("Index", [0, 1, 2]),
        ("key", [f"{n}f9619ff-8b86-d011-b42d-00cf4fc964ff" for n in "123"]),
        ("anything", [f"{n}f9619ff8b86d011b42d00cf4fc964ff" for n in "123"]),
    ],
)  # fmt: skip
def test_identifiers_are_told_apart(name: str, cells: list[Any]) -> None:
    column, notices = infer(cells, name)
    assert column.role == "id"
    assert any(f"'{name}'" in notice for notice in notices)


@pytest.mark.parametrize(
    ("name", "cells"), [("id", ["1", "2", "2"]), ("paid", ["1", "2", "3"]), ("user_id", ["0.5", "1.5", "2.5"])]
)
def test_what_is_no_identifier(name: str, cells: list[str]) -> None:
    assert infer(cells, name)[0].role == "feature"


def test_a_running_number_is_an_id_only_in_front_and_beside_features() -> None:
    running = [str(n) for n in range(30)]
    other = ["1", "2", "5"] * 10
    schema, _ = infer_schema(table({"n": running, "x": other}))
    assert [c.role for c in schema.columns] == ["id", "feature"]
    schema, _ = infer_schema(table({"x": other, "n": running}))
    assert [c.role for c in schema.columns] == ["feature", "feature"]
    schema, _ = infer_schema(table({"n": running, "x": other}), target="x")
    assert [c.role for c in schema.columns] == ["feature", "target"]


def test_ids_may_begin_anew_in_each_part() -> None:
    train = {"n": [str(n) for n in range(30)], "x": ["1", "2", "5"] * 10}
    schema, _ = infer_schema(table(train, test={"n": ["0", "1"], "x": ["1", "2"]}))
    assert schema.columns[0].role == "id"


def test_dots_at_the_end_of_labels_are_cut_off_everywhere() -> None:
    source = table({"x": ["1", "2"], "income": [" <=50K", " >50K"]}, test={"x": ["3"], "income": [" <=50K."]})
    schema, notices = infer_schema(source, target="income")
    target = schema.target
    assert target is not None
    assert read_back(target, [" <=50K.", " >50K"]) == ["<=50K", ">50K"]
    assert any("dot" in notice for notice in notices)
    assert infer(["Inc.", "Ltd.", "Inc."])[0].normalize == ()


def test_values_that_differ_in_case_are_told() -> None:
    _, notices = infer(["Male", "male", "Female"])
    assert any("casefold" in notice for notice in notices)


def test_targets() -> None:
    columns = {"a": ["1", "2", "3"], "won": ["yes", "no", "yes"], "class": ["x", "y", "x"]}
    schema, notices = infer_schema(table(columns))
    assert schema.target is not None
    assert schema.target.name == "class"
    assert any("'class' is taken as the target" in notice for notice in notices)
    schema, notices = infer_schema(table(columns), target="won")
    assert schema.target == Column(name="won", kind="category", role="target")
    schema, _ = infer_schema(table(columns), target="a")
    assert schema.target == Column(name="a", kind="number", role="target")
    with pytest.raises(InvalidData, match="did you mean 'class'"):
        infer_schema(table(columns), target="clas")


def test_overrides() -> None:
    columns = {
        "code": ["1", "2", "1"],
        "pay": ["1,5", "2,5", "3,5"],
        "when": ["01.02.2024", "02.02.2024", "x"],
        "y": ["a", "b", "a"],
    }
    source = table(columns)
    whole = Column(name="when", kind="category", role="ignored")
    schema, _ = infer_schema(source, overrides={"code": "category", "pay": "number", "when": whole, "y": "target"})
    assert schema.column("code") == Column(name="code", kind="category")
    assert schema.column("pay") == Column(name="pay", kind="number", decimal=",")
    assert schema.column("when") == whole
    assert schema.target == Column(name="y", kind="category", role="target")
    again = override_columns(schema, source, {"code": "id", "y": "feature"})
    assert [c.role for c in again.columns] == ["id", "feature", "ignored", "feature"]


def test_a_kind_makes_an_unused_column_a_feature() -> None:
    schema, _ = infer_schema(table({"id": ["1", "2", "3"], "x": ["1", "2", "2"]}), overrides={"id": "number"})
    assert schema.columns[0].role == "feature"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"cod": "category"}, "did you mean 'code'"),
        ({"code": "categorie"}, "did you mean 'category'"),
        ({"code": Column(name="other", kind="number")}, "'other'"),
        ({"code": "image"}, "single values"),
        ({"code": "datetime"}, "date_format"),
        ({"code": "target", "x": "target"}, "predicts one"),
    ],
)
def test_overrides_that_do_not_fit(overrides: dict[str, str | Column], told: str) -> None:
    with pytest.raises(InvalidData, match=told):
        infer_schema(table({"code": ["a", "2", "a"], "x": ["1", "2", "2"]}), overrides=overrides)


def test_pictures_and_arrays() -> None:
    labels = pl.DataFrame({"label": [0, 1, 0]})
    parts: dict[Part, PartRows] = {"train": PartRows(labels, {"image": np.zeros((3, 4, 5, 3), np.uint8)})}
    schema, _ = infer_schema(Source("images", ("image", "label"), parts))
    assert schema.columns == (
        Column(name="image", kind="image", shape=(4, 5, 3), datatype="UINT8"),
        Column(name="label", kind="number", role="target"),
    )
    parts = {"rows": PartRows(pl.DataFrame(), {"x": np.zeros((3, 7), np.int64)})}
    schema, _ = infer_schema(Source("arrays", ("x",), parts))
    assert schema.columns == (Column(name="x", kind="array", shape=(7,), datatype="INT64"),)

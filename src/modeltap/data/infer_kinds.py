"""What the cells of a column are: numbers, truths, times, categories or texts, from its different values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modeltap.data.cells import FALSE_WORDS, TRUE_WORDS
from modeltap.data.infer_dates import find_date_form
from modeltap.domain.dataset import Kind, Normalization

if TYPE_CHECKING:
    import polars as pl

_EXPONENT = "([eE][+-]?[0-9]+)?"
NUMBER = rf"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+){_EXPONENT}$"
DECIMAL_COMMA = rf"^[+-]?([0-9]+|([0-9]+|[0-9]{{1,3}}(\.[0-9]{{3}})+)?,[0-9]+){_EXPONENT}$"
THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+$"
GROUPED = r"^[+-]?[1-9][0-9]{0,2}([,. ][0-9]{3})+([.,][0-9]+)?$"
CODE = "^0[0-9]+$"
LONG_DIGITS = "^[0-9]{16,}$"
"""Whole numbers that a 64-bit float cannot tell apart; they are names, not amounts."""

MORE_MARKERS = ("-", "--", "---", ".", "..", "*", "n.a.", "N.A.", "na", "Na", "none", "missing", "Missing", "MISSING",
                "#NULL!", "#DIV/0!", "#VALUE!", "(null)", "\\N")  # fmt: skip
"""Texts that mean a missing value only if every other cell of the column is a number or a date."""

TEXT_WORDS = 4.0
TEXT_DISTINCT = 50


@dataclass(frozen=True)
class Distinct:
    """The different values of a column of texts, trimmed, without missing ones, and how often cells are what."""

    values: pl.Series
    num_known: int
    num_missing: int
    markers: dict[str, int]
    """Missing marker → cells that hold it; "" stands for empty ones."""


@dataclass(frozen=True)
class Reading:
    """How the cells of a column are read, and what is worth knowing about that decision."""

    kind: Kind
    decimal_comma: bool = False
    date_format: str | None = None
    normalize: tuple[Normalization, ...] = ()
    notice: str | None = None
    more_markers: tuple[str, ...] = ()


def distinct_cells(cells: pl.Series, missing: Collection[str]) -> Distinct:
    """The different known values of a column; texts trimmed."""
    import polars as pl

    if cells.dtype == pl.String:
        return distinct_texts(cells, missing)
    known = cells.drop_nulls()
    if cells.dtype.is_float():
        known = known.drop_nans()
    num_missing = len(cells) - len(known)
    return Distinct(known.unique(), len(known), num_missing, {"": num_missing} if num_missing else {})


def distinct_texts(series: pl.Series, missing: Collection[str]) -> Distinct:
    import polars as pl

    trimmed = series.str.strip_chars().alias("value").fill_null("")
    counted = trimmed.value_counts(name="count")
    is_missing = pl.col("value").is_in(sorted({*missing, ""}))
    gone = counted.filter(is_missing)
    known = counted.filter(~is_missing)
    markers = dict(sorted(zip(gone["value"].to_list(), gone["count"].to_list(), strict=True)))
    return Distinct(known["value"].sort(), int(known["count"].sum()), int(gone["count"].sum()), markers)


def read_texts(distinct: Distinct, *, may_add_markers: bool) -> Reading:
    """The kind that fits every value; where only texts such as `-` stand in the way of numbers, they are named."""
    values = distinct.values
    if not len(values):
        return Reading("category")
    reading = _read_exact(values)
    if reading is not None:
        return reading
    if may_add_markers:
        in_the_way = values.is_in(list(MORE_MARKERS))
        if in_the_way.any() and not in_the_way.all():
            reading = _read_exact(values.filter(~in_the_way))
            if reading is not None and reading.kind in ("number", "datetime"):
                return Reading(
                    reading.kind, reading.decimal_comma, reading.date_format, (), reading.notice,
                    tuple(sorted(values.filter(in_the_way).to_list())),
                )  # fmt: skip
    return _read_category(distinct)


def _read_exact(values: pl.Series) -> Reading | None:
    """Number, truth or time, if all values are; categories that look like numbers; None for anything else."""
    if values.str.contains(NUMBER).all():
        if values.str.contains(LONG_DIGITS).any():
            return Reading("category", notice="holds whole numbers of 16 and more digits and is read as a category")
        codes = values.str.contains(CODE)
        if codes.any() and values.str.contains("^[0-9]+$").all():
            return Reading("category", notice=f"holds codes such as '{values.filter(codes)[0]}' and is read as a category")
        return Reading("number")
    if values.str.contains(DECIMAL_COMMA).all():
        return _read_commas(values)
    if values.str.to_lowercase().is_in(sorted(TRUE_WORDS | FALSE_WORDS)).all():
        return Reading("boolean")
    form = find_date_form(values)
    if form is None:
        return None
    notice = None
    if form.doubt is not None:
        notice = f"holds dates that fit {form.strptime} and {form.doubt}; {form.strptime} was taken"
    return Reading("datetime", date_format=form.strptime, notice=notice)


def _read_commas(values: pl.Series) -> Reading:
    commas = values.str.contains(",")
    like_thousands = values.filter(commas).str.contains(THOUSANDS).all()
    example = values.filter(commas)[0]
    if like_thousands and not commas.all():
        return Reading(
            "category",
            notice=f"holds numbers with a thousands separator, such as '{example}', and is read as a category;"
            " write them without it",
        )
    notice = f"holds '{example}', which is read with a decimal comma" if like_thousands else "has a decimal comma"
    return Reading("number", decimal_comma=True, notice=notice)


def _read_category(distinct: Distinct) -> Reading:
    import polars as pl

    values, num = distinct.values, len(distinct.values)
    mean_words = values.str.count_matches(r"\S+").mean()
    assert isinstance(mean_words, float)
    mostly_new = num > 0.5 * distinct.num_known
    if (mean_words > TEXT_WORDS and (mostly_new or num > 200)) or (num > TEXT_DISTINCT and num > 0.9 * distinct.num_known):
        return Reading("text")
    normalize: tuple[Normalization, ...] = ()
    notice = None
    dotted = values.filter(values.str.ends_with("."))
    both = dotted.filter(dotted.str.strip_chars_end(".").is_in(values.implode()))
    if len(both):
        normalize = ("trailing-dots",)
        notice = f"holds '{both[0]}' with and without the dot at its end; the dot is cut off, now and in serving"
    elif values.str.to_lowercase().n_unique() < num:
        lower = pl.DataFrame({"value": values, "lower": values.str.to_lowercase()})
        alike = lower.filter(pl.col("lower").is_duplicated()).sort("lower", "value")["value"].to_list()
        notice = f"holds '{alike[0]}' and '{alike[1]}', which differ in case alone; normalize: [casefold] makes them one"
    elif values.str.contains(GROUPED).all():
        notice = f"holds numbers with a thousands separator, such as '{values[0]}'; write them without it"
    return Reading("category", normalize=normalize, notice=notice)

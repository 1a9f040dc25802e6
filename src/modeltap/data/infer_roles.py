"""What each column is for: the target, ids, constants and free texts are told apart from features."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from modeltap.data.infer_kinds import Distinct
from modeltap.domain.dataset import Column, Kind, Schema

if TYPE_CHECKING:
    import polars as pl

_ID_NAME = re.compile(
    r"(id|uuid|guid|index|idx|key|nr|no|row[ _.-]?(id|nr|no|num|number)?|unnamed: ?0|.*[ _.-](id|uuid|guid|key))", re.I
)
_ID_CAMEL = re.compile(r".*[a-z](Id|ID)")
_UUID = "^[{]?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}[}]?$"
TARGET_NAMES = frozenset({"target", "label", "class", "y"})
RUNNING_ROWS = 20
"""From so many rows on, a first column that counts them is taken for a running number."""


@dataclass(frozen=True)
class Unused:
    role: Literal["id", "ignored"]
    reason: Literal["empty", "constant", "id", "running", "text"]
    why: str


def with_roles(
    schema: Schema,
    trained: pl.DataFrame,
    distinct: Mapping[str, Distinct],
    *,
    target: str | None,
    overrides: Mapping[str, str | Column],
) -> tuple[Schema, list[str]]:
    """The schema with roles and, where one text is all there is to learn from, the form `texts`; and notices.

    trained: the cells of the training part; distinct: of every column in it.
    """
    notices: list[str] = []
    said = [name for name, o in overrides.items() if o == "target" or (isinstance(o, Column) and o.role == "target")]
    chosen = said[0] if said else (target or _plain_target(schema, overrides))
    if chosen is not None and not said and target is None and schema.form == "table":
        notices.append(f"column '{chosen}' is taken as the target because of its name")
    unused: dict[str, Unused] = {}
    for place, column in enumerate(schema.columns):
        if column.name in distinct and column.name != chosen and column.name not in overrides:
            found = _unused(trained[column.name], column.kind, distinct[column.name], is_first=place == 0)
            if found is not None:
                unused[column.name] = found
    rest = [c.name for c in schema.columns if c.name != chosen and c.name not in unused]
    texts = [name for name, one in unused.items() if one.reason == "text"]
    if len(texts) == 1 and len(rest) <= (1 if chosen is None else 0):
        del unused[texts[0]]
        schema = msgspec.structs.replace(schema, form="texts")
        if rest:
            chosen = rest[0]
            notices.append(f"column '{chosen}' is taken as the target of the texts in '{texts[0]}'")
    elif not rest:
        unused = {name: one for name, one in unused.items() if one.reason != "running"}
    for name, one in unused.items():
        notices.append(f"column '{name}' {one.why}")
        schema = schema.with_column(msgspec.structs.replace(_column(schema, name), role=one.role))
    return (_with_target(schema, chosen, overrides) if chosen is not None else schema), notices


def _plain_target(schema: Schema, overrides: Mapping[str, str | Column]) -> str | None:
    named = [c.name for c in schema.columns if c.name.casefold() in TARGET_NAMES and c.kind not in ("image", "array")]
    free = [name for name in named if name not in overrides]
    return free[0] if len(named) == 1 and free and len(schema.columns) > 1 else None


def _with_target(schema: Schema, name: str, overrides: Mapping[str, str | Column]) -> Schema:
    """Truths become categories, so that an answer says `yes` where the data does."""
    column = _column(schema, name)
    if column.kind in ("boolean", "text") and name not in overrides:
        schema = schema.with_column(msgspec.structs.replace(column, kind="category"))
    return schema.with_target(name)


def _column(schema: Schema, name: str) -> Column:
    column = schema.column(name)
    assert column is not None
    return column


def _unused(cells: pl.Series, kind: Kind, distinct: Distinct, *, is_first: bool) -> Unused | None:
    """Why a column is no feature; None if it is one."""
    if not distinct.num_known:
        return Unused("ignored", "empty", "holds no value at all and is ignored")
    if len(distinct.values) == 1 and not distinct.num_missing and distinct.num_known > 1:
        shown = str(distinct.values[0])
        shown = shown if len(shown) <= 40 else shown[:39] + "…"
        return Unused("ignored", "constant", f"holds '{shown}' in every row and is ignored")
    all_different = 1 < len(distinct.values) == distinct.num_known and not distinct.num_missing
    if all_different and kind in ("number", "category", "text"):
        found = _identifier(cells, distinct.values, kind, is_first=is_first)
        if found is not None:
            return found
    if kind == "text":
        return Unused("ignored", "text", "holds free text, which tables do not use, and is ignored")
    return None


def _identifier(cells: pl.Series, values: pl.Series, kind: Kind, *, is_first: bool) -> Unused | None:
    import polars as pl

    texts = values.dtype == pl.String
    if texts and values.str.contains(_UUID).all():
        return Unused("id", "id", "looks like a unique identifier and is not used as a feature")
    whole = values.str.contains("^[0-9]{1,18}$").all() if texts else values.dtype.is_integer()
    if (whole or kind != "number") and (_ID_NAME.fullmatch(cells.name) or _ID_CAMEL.fullmatch(cells.name)):
        return Unused("id", "id", "is named like an id and differs in every row; it is not used as a feature")
    if whole and is_first and len(cells) >= RUNNING_ROWS:
        numbers = (cells.str.strip_chars() if texts else cells).cast(pl.Int64)
        if numbers[0] in (0, 1) and (numbers.diff().drop_nulls() == 1).all():
            return Unused("id", "running", "counts the rows; it is not used as a feature")
    return None

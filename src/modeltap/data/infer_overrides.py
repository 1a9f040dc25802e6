"""What a person says of a column instead of what was found: its kind, its role, or all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import msgspec

from modeltap.data.infer_dates import find_date_form
from modeltap.data.infer_kinds import DECIMAL_COMMA, NUMBER, distinct_texts
from modeltap.data.source import Source
from modeltap.domain.dataset import Column, Kind, Role, Schema
from modeltap.errors import InvalidData, nearest

KINDS: tuple[str, ...] = get_args(Kind)
ROLES: tuple[str, ...] = get_args(Role)
BLOCKS = ("image", "array")


def check_names(columns: Sequence[str], target: str | None, overrides: Mapping[str, str | Column]) -> None:
    """Raises InvalidData naming the nearest column if the target or an override names one that is not there."""
    if target is not None and target not in columns:
        raise InvalidData(f"there is no column '{target}' to be the target{nearest(target, columns)}")
    for name in overrides:
        if name not in columns:
            raise InvalidData(f"columns names '{name}', which the data does not have{nearest(name, columns)}")


def override_columns(schema: Schema, source: Source, overrides: Mapping[str, str | Column]) -> Schema:
    """The schema with kinds, roles or whole columns as a person said; a kind makes an unused column a feature.

    Raises InvalidData for an unknown column, word or combination.
    """
    check_names([c.name for c in schema.columns], None, overrides)
    targets = [n for n, said in overrides.items() if said == "target" or (isinstance(said, Column) and said.role == "target")]
    if len(targets) > 1:
        raise InvalidData(f"the columns {', '.join(targets)} all have the role 'target'; a model predicts one")
    for name, said in overrides.items():
        before = schema.column(name)
        assert before is not None
        if isinstance(said, Column):
            if said.name != name:
                raise InvalidData(f"columns.{name} describes a column named '{said.name}'; both names must be the same")
            _check_block(before, said.kind)
            schema = schema.with_column(said)
            schema = schema.with_target(name) if said.role == "target" else schema
        elif said in ROLES:
            schema = _with_role(schema, before, said)
        elif said in KINDS:
            schema = schema.with_column(_of_kind(before, said, source, schema.missing))
        else:
            allowed = (*KINDS, *ROLES)
            raise InvalidData(f"columns.{name} is '{said}'{nearest(said, allowed)}; allowed: {', '.join(allowed)}")
    return schema


def _with_role(schema: Schema, column: Column, role: str) -> Schema:
    if role == "target":
        return schema.with_target(column.name)
    return schema.with_column(msgspec.structs.replace(column, role=role))


def _of_kind(column: Column, kind: str, source: Source, missing: Sequence[str]) -> Column:
    import polars as pl

    _check_block(column, kind)
    role: Role = "target" if column.role == "target" else "feature"
    if kind == column.kind:
        return msgspec.structs.replace(column, role=role)
    decimal, date_format = ".", None
    cells = source.cells(column.name)
    if cells.dtype == pl.String:
        values = distinct_texts(cells, missing).values
        if kind == "number" and not values.str.contains(NUMBER).all() and values.str.contains(DECIMAL_COMMA).all():
            decimal = ","
        if kind == "datetime" and len(values):
            form = find_date_form(values)
            if form is None:
                raise InvalidData(
                    f"column '{column.name}' is to be a datetime, but no usual form reads all of it, such as"
                    f" '{values[0]}'; give the column with its date_format"
                )
            date_format = form.strptime
    return Column(
        name=column.name,
        kind=kind,  # type: ignore[arg-type]
        role=role,
        decimal=decimal,  # type: ignore[arg-type]
        date_format=date_format,
        normalize=column.normalize if kind == "category" else (),
    )


def _check_block(before: Column, kind: str) -> None:
    if (before.kind in BLOCKS or kind in BLOCKS) and kind != before.kind:
        raise InvalidData(
            f"column '{before.name}' holds {'whole ' + before.kind + 's' if before.kind in BLOCKS else 'single values'}"
            f" and cannot be of the kind '{kind}'"
        )

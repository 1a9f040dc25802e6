"""Source → schema: what each column holds, found from all of its values. Roles and overrides have files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modeltap.data.infer_kinds import Distinct, Reading, distinct_cells, read_texts
from modeltap.data.infer_overrides import check_names, override_columns
from modeltap.data.infer_roles import with_roles
from modeltap.data.source import Source
from modeltap.data.wording import counted
from modeltap.domain.dataset import DEFAULT_MISSING, Column, Form, Schema

if TYPE_CHECKING:
    import polars as pl

ARRAY_DATATYPES = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32"}


def infer_schema(
    source: Source,
    *,
    target: str | None = None,
    overrides: Mapping[str, str | Column] | None = None,
    missing: tuple[str, ...] | None = None,
) -> tuple[Schema, list[str]]:
    """The schema of the source, and notices that tell each decision a person may want to undo.

    target: the column to predict; None takes one that is plainly named so. overrides: column → its kind, its role or all
    of it. missing: the texts that mean a missing value, instead of the usual ones. Raises InvalidData naming the nearest
    column if one does not exist, and for an override that does not fit.
    """
    said = overrides or {}
    check_names(source.columns, target, said)
    markers = tuple(dict.fromkeys(("", *(DEFAULT_MISSING if missing is None else missing))))
    columns: list[Column] = []
    distinct: dict[str, Distinct] = {}
    notices: list[str] = []
    added: dict[str, None] = {}
    for name in source.columns:
        if name in source.training.arrays:
            columns.append(_block_column(source, name))
            continue
        cells = source.cells(name)
        distinct[name] = distinct_cells(cells, markers)
        reading = _read(cells, distinct[name], form=source.form, may_add_markers=missing is None)
        columns.append(
            Column(
                name=name,
                kind=reading.kind,
                decimal="," if reading.decimal_comma else ".",
                date_format=reading.date_format,
                normalize=reading.normalize,
            )
        )
        added |= dict.fromkeys(reading.more_markers)
        if reading.notice and name not in said:
            notices.append(f"column '{name}' {reading.notice}")
    notices += _told_markers(source, distinct, tuple(added))
    schema = Schema(form=source.form, columns=tuple(columns), missing=(*markers, *added))
    trained = source.training.table
    if added or len(source.parts) > 1:
        distinct = {name: distinct_cells(trained[name], schema.missing) for name in distinct}
    if source.form == "texts" and target is None:  # all of it is to be read, however it looks
        return override_columns(schema, source, said), notices
    schema, more = with_roles(schema, trained, distinct, target=target, overrides=said)
    return override_columns(schema, source, said), notices + more


def _read(cells: pl.Series, distinct: Distinct, *, form: Form, may_add_markers: bool) -> Reading:
    import polars as pl

    if form == "texts":
        return Reading("text")
    if cells.dtype == pl.String:
        return read_texts(distinct, may_add_markers=may_add_markers)
    if cells.dtype == pl.Boolean:
        return Reading("boolean")
    return Reading("datetime" if cells.dtype.is_temporal() else "number")


def _block_column(source: Source, name: str) -> Column:
    values = source.training.arrays[name]
    shape = tuple(int(n) for n in values.shape[1:])
    if source.form == "images":
        return Column(name=name, kind="image", shape=shape, datatype="UINT8")
    return Column(name=name, kind="array", shape=shape, datatype=ARRAY_DATATYPES[values.dtype.name])  # type: ignore[arg-type]


def _told_markers(source: Source, distinct: Mapping[str, Distinct], added: tuple[str, ...]) -> list[str]:
    found: dict[str, int] = {}
    for one in distinct.values():
        for marker, count in one.markers.items():
            found[marker] = found.get(marker, 0) + count
    for marker in added:
        texts = [c for c in map(source.cells, distinct) if str(c.dtype) == "String"]
        found[marker] = sum(int((c.str.strip_chars() == marker).sum()) for c in texts)
    told = [f"{'nothing' if m == '' else repr(m)} ({counted(n, 'cell')})" for m, n in sorted(found.items())]
    return [f"missing values are written as {', '.join(told)}"] if told else []

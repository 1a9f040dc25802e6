"""What a read file holds: raw cells, arrays and pictures by part, before anything is inferred; and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from modeltap.domain.dataset import Form, Part
from modeltap.domain.signature import Array
from modeltap.errors import InvalidData

if TYPE_CHECKING:
    import polars as pl


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person may say about a file; None is found out from the file itself."""

    header: bool | None = None
    """Whether the first record of a CSV or TSV file names the columns."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a CSV or TSV file, instead of those in it."""
    delimiter: str | None = None
    encoding: str | None = None
    image_size: tuple[int, int] | None = None
    """Height and width that every picture gets; None is the most common size."""
    skip_broken: bool = False
    """Leave out pictures that cannot be decoded, instead of refusing the data."""
    max_members: int = 500_000
    """Files in an archive or a folder."""
    max_unpacked_bytes: int = 8 * 2**30
    """What an archive, a compressed file or all pictures together may grow to."""


@dataclass(frozen=True)
class PartRows:
    """The rows of one part: one-cell columns in `table`, whole arrays and pictures beside it, all of the same length."""

    table: pl.DataFrame
    arrays: Mapping[str, Array] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        return next((len(values) for values in self.arrays.values()), self.table.height)

    def column(self, name: str) -> list[Any] | Array:
        """Raw values as `rows.parse_column` takes them: an array (N, *shape), float64 (N,), or a list of N cells."""
        return self.arrays[name] if name in self.arrays else raw_cells(self.table[name])


@dataclass(frozen=True)
class Source:
    """Everything that was read. `columns` is the order of the file; every part has the same ones."""

    form: Form
    columns: tuple[str, ...]
    parts: Mapping[Part, PartRows]
    notices: tuple[str, ...] = ()

    def cells(self, name: str) -> pl.Series:
        """The raw cells of a table column in all parts, in their order."""
        import polars as pl

        return pl.concat([r.table.select(name) for r in self.parts.values()], how="vertical_relaxed").to_series()

    @property
    def training(self) -> PartRows:
        """The part that a model learns from; all rows where nothing is split."""
        return self.parts["train"] if "train" in self.parts else next(iter(self.parts.values()))


def raw_cells(series: pl.Series) -> list[Any] | Array:
    """Cells as Python values; a column of floats as float64 (N,) with NaN where null."""
    import polars as pl

    if series.dtype in (pl.Float64, pl.Float32):
        values: Array = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return values
    return series.to_list()


PARTS: tuple[Part, ...] = ("train", "val", "test")


def join_parts(sources: Mapping[Part, Source]) -> Source:
    """One source with the rows of each as a part. Raises InvalidData naming the columns that differ between parts."""
    first_part, first = next(iter(sources.items()))
    tables: dict[Part, pl.DataFrame] = {}
    notices: list[str] = []
    for part, source in sources.items():
        if set(source.parts) != {"rows"}:
            raise InvalidData(f"the {part} file holds parts of its own; give a file that is split, or one file a part")
        _check_columns(first, source, part=part, first_part=first_part)
        table = source.parts["rows"].table
        tables[part] = table.select([c for c in first.columns if c in table.columns])
        notices += [f"{part}: {notice}" for notice in source.notices]
    tables = _with_like_types(tables)
    parts = {part: PartRows(tables[part], source.parts["rows"].arrays) for part, source in sources.items()}
    return Source(first.form, first.columns, parts, tuple(notices))


def _check_columns(first: Source, other: Source, *, part: Part, first_part: Part) -> None:
    lacking = [c for c in first.columns if c not in other.columns]
    extra = [c for c in other.columns if c not in first.columns]
    if lacking or extra:
        told = [f"{part} lacks {_listed(lacking)}"] if lacking else []
        told += [f"{first_part} lacks {_listed(extra)}"] if extra else []
        raise InvalidData(f"the parts differ in their columns: {'; '.join(told)}; every part needs the same columns")
    one, two = first.parts["rows"], other.parts["rows"]
    for name in first.columns:
        if (name in one.arrays) != (name in two.arrays):
            raise InvalidData(f"column '{name}' is an array in one part and a single value in another")
        if name in one.arrays and _described(one.arrays[name]) != _described(two.arrays[name]):
            raise InvalidData(
                f"'{name}' is {_described(one.arrays[name])} in {first_part} and {_described(two.arrays[name])} in {part};"
                " both must be alike"
            )


def _with_like_types(tables: Mapping[Part, pl.DataFrame]) -> dict[Part, pl.DataFrame]:
    """The tables, a column without any value typed as in the other parts. Raises InvalidData if two types are unlike."""
    alike = dict(tables)
    for name in next(iter(tables.values())).columns:
        held = {part: table[name] for part, table in tables.items() if table[name].null_count() < table.height}
        for part, series in held.items():
            part_0, series_0 = next(iter(held.items()))
            if series.dtype != series_0.dtype and not (series.dtype.is_numeric() and series_0.dtype.is_numeric()):
                raise InvalidData(
                    f"column '{name}' is {series_0.dtype} in {part_0} and {series.dtype} in {part};"
                    " write both with the same type"
                )
        for part, table in tables.items():
            if held and part not in held:
                dtype = next(iter(held.values())).dtype
                alike[part] = alike[part].with_columns(table[name].cast(dtype))
    return alike


def _described(values: Array) -> str:
    return f"{values.dtype} of shape {list(values.shape[1:])}"


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{n}'" for n in names[:8]) + (", …" if len(names) > 8 else "")

"""Parquet files → a table of native values; nested columns are refused, except lists of numbers of one length."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from modeltap.data.read_arrays import array_form, stack_lists
from modeltap.data.read_members import Member
from modeltap.data.source import PartRows, ReadOptions, Source
from modeltap.domain.signature import Array
from modeltap.errors import InvalidData

if TYPE_CHECKING:
    import polars as pl

MAGIC = b"PAR1"
CELL_BYTES = 16
"""What a cell takes in memory at least, whatever its size in the file."""
INDEX_COLUMNS = ("__index_level_0__", "__null_dask_index__")


def read_parquet(member: Member, options: ReadOptions) -> Source:
    """Rows of native values, times in UTC. Raises InvalidData for a file that is cut off, too large, nested or empty."""
    import polars as pl

    data = member.read()
    if not data.startswith(MAGIC) or not data.endswith(MAGIC) or len(data) < 12:
        raise InvalidData(f"'{member.name}' is not a complete Parquet file; it begins and ends with {MAGIC.decode()}")
    try:
        num_rows = pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item()
        columns = pl.read_parquet_schema(io.BytesIO(data))
        if num_rows * max(1, len(columns)) * CELL_BYTES > options.max_unpacked_bytes:
            raise InvalidData(
                f"'{member.name}' has {num_rows:,} rows of {len(columns):,} columns, more than fit into"
                f" {options.max_unpacked_bytes:,} bytes; split it, or raise max_unpacked_bytes"
            )
        table = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as problem:
        raise InvalidData(f"'{member.name}' is not a complete Parquet file: {str(problem)[:200]}") from None
    if not table.height:
        raise InvalidData(f"'{member.name}' holds no rows")
    kept = [c for c in table.columns if c not in INDEX_COLUMNS]
    notices = tuple(f"the index column '{c}' was left out" for c in table.columns if c not in kept)
    arrays: dict[str, Array] = {}
    series: list[pl.Series] = []
    for name in kept:
        if isinstance(table[name].dtype, pl.List | pl.Array):
            arrays[name] = stack_lists(table[name].to_list(), name)
        else:
            series.append(_native(table[name], member.name))
    form = array_form(arrays, num_columns=len(kept))
    return Source(form, tuple(kept), {"rows": PartRows(pl.DataFrame(series), arrays)}, notices)


def _native(series: pl.Series, file: str) -> pl.Series:
    import polars as pl

    dtype = series.dtype
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return series.cast(pl.Datetime("us"))
    if dtype in (pl.Categorical, pl.Enum, pl.Time):
        return series.cast(pl.String)
    if dtype == pl.Null:
        return series.cast(pl.String)
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.String, pl.Date):
        return series
    raise InvalidData(
        f"column '{series.name}' of '{file}' is {dtype}; allowed are numbers, truths, texts, dates and times"
        + (" (give each field of it a column of its own)" if dtype == pl.Struct else "")
    )

"""Parquet files → a table of native values; nested columns are refused, except lists of numbers of one length."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL
from tempfile import NamedTemporaryFile
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


PROBE = """
import sys, polars
path, limit, cell = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rows = polars.scan_parquet(path).select(polars.len()).collect().item()
if rows * max(1, len(polars.read_parquet_schema(path))) * cell <= limit:
    polars.read_parquet(path)
"""
PROBE_TIMEOUT_S = 600


def read_parquet(member: Member, options: ReadOptions) -> Source:
    """Rows of native values, times in UTC. Raises InvalidData for a file that is cut off, too large, nested or empty."""
    if member.path is not None:
        table = _read_table(member.path, member.name, options)
    else:
        with NamedTemporaryFile(suffix=".parquet") as file, member.open() as stream:
            shutil.copyfileobj(stream, file)
            file.flush()
            table = _read_table(Path(file.name), member.name, options)
    return _as_source(table, member.name)


def _read_table(path: Path, name: str, options: ReadOptions) -> pl.DataFrame:
    import polars as pl

    check_parquet(path, name, options)
    try:
        num_rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        num_columns = max(1, len(pl.read_parquet_schema(path)))
        if num_rows * num_columns * CELL_BYTES > options.max_unpacked_bytes:
            raise InvalidData(
                f"'{name}' has {num_rows:,} rows of {num_columns:,} columns, more than fit into"
                f" {options.max_unpacked_bytes:,} bytes; split it, or raise max_unpacked_bytes"
            )
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
        raise InvalidData(f"'{name}' is not a complete Parquet file; it breaks off or is damaged") from None


def check_parquet(path: Path, name: str, options: ReadOptions) -> None:
    """Raises InvalidData for a file that is not whole, or whose decoding kills a process."""
    with path.open("rb") as stream:
        head = stream.read(len(MAGIC))
        stream.seek(max(0, path.stat().st_size - len(MAGIC)))
        if head != MAGIC or stream.read() != MAGIC or path.stat().st_size < 12:
            raise InvalidData(f"'{name}' is not a complete Parquet file; one begins and ends with {MAGIC.decode()}")
    _probe(path, name, options)


def _probe(path: Path, name: str, options: ReadOptions) -> None:
    """Raises InvalidData if decoding kills a process: a damaged file can make the native reader abort, past any except."""
    command = [sys.executable, "-P", "-c", PROBE, str(path), str(options.max_unpacked_bytes), str(CELL_BYTES)]
    try:
        ended = subprocess.run(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, timeout=PROBE_TIMEOUT_S, check=False)  # noqa: S603  our own text
    except subprocess.TimeoutExpired:
        raise InvalidData(f"'{name}' could not be decoded in {PROBE_TIMEOUT_S} seconds; split it") from None
    if ended.returncode not in (0, 1):
        raise InvalidData(f"'{name}' is not a complete Parquet file; it is damaged")


def _as_source(table: pl.DataFrame, name: str) -> Source:
    import polars as pl

    if not table.height:
        raise InvalidData(f"'{name}' holds no rows")
    kept = [c for c in table.columns if c not in INDEX_COLUMNS]
    notices = tuple(f"the index column '{c}' was left out" for c in table.columns if c not in kept)
    arrays: dict[str, Array] = {}
    series: list[pl.Series] = []
    for column in kept:
        if isinstance(table[column].dtype, pl.List | pl.Array):
            arrays[column] = stack_lists(table[column].to_list(), column)
        else:
            series.append(_native(table[column], name))
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

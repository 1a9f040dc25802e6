"""A dataset's files: `schema.json`, `<part>.parquet` for cells, `<part>.<column>.npy` for arrays and pictures.

Equal content gives equal bytes. Reading is lazy: arrays are memory-mapped, a column is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from modeltap.data.source import PARTS, PartRows, Source, raw_cells
from modeltap.domain.dataset import Part, Schema
from modeltap.domain.signature import Array
from modeltap.errors import NotFound, StorageFailed, nearest

if TYPE_CHECKING:
    import polars as pl

SCHEMA_FILE = "schema.json"
ROW_GROUP_ROWS = 131_072
ALL_PARTS: tuple[Part, ...] = ("rows", *PARTS)


def write_dataset(source: Source, schema: Schema, directory: Path) -> dict[str, Path]:
    """The files written into `directory`, by name. Raises StorageFailed if the disk refuses."""
    files: dict[str, Path] = {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        files[SCHEMA_FILE] = directory / SCHEMA_FILE
        files[SCHEMA_FILE].write_bytes(msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n")
        for part, rows in source.parts.items():
            if rows.table.width:
                files[f"{part}.parquet"] = directory / f"{part}.parquet"
                rows.table.rechunk().write_parquet(
                    files[f"{part}.parquet"], compression="zstd", compression_level=3, row_group_size=ROW_GROUP_ROWS
                )
            for name, values in rows.arrays.items():
                file = f"{part}.{source.columns.index(name)}.npy"
                files[file] = directory / file
                np.save(files[file], np.ascontiguousarray(values), allow_pickle=False)
    except OSError as problem:
        raise StorageFailed(f"the dataset could not be written: {problem.strerror or 'the disk refused'}") from None
    return files


def open_dataset(files: Mapping[str, Path]) -> StoredDataset:
    """The dataset in these files, by name; a file may lie under any path. Raises StorageFailed if one is lacking."""
    if SCHEMA_FILE not in files:
        raise StorageFailed(f"the dataset has no {SCHEMA_FILE}; add its data again")
    try:
        schema = msgspec.json.decode(files[SCHEMA_FILE].read_bytes(), type=Schema)
    except (msgspec.DecodeError, OSError):
        raise StorageFailed(f"the dataset's {SCHEMA_FILE} cannot be read; add its data again") from None
    return StoredDataset(schema, files)


class StoredDataset:
    """A dataset on disk. Cells come as they were read; `rows.parse_column` makes values of them."""

    def __init__(self, schema: Schema, files: Mapping[str, Path]) -> None:
        self.schema = schema
        self._files = dict(files)
        self._places = {column.name: place for place, column in enumerate(schema.columns)}

    @property
    def parts(self) -> tuple[Part, ...]:
        found = {name.split(".")[0] for name in self._files}
        return tuple(part for part in ALL_PARTS if part in found)

    def num_rows(self, part: Part) -> int:
        import polars as pl

        self._check_part(part)
        table = self._files.get(f"{part}.parquet")
        if table is not None:
            return int(pl.scan_parquet(table).select(pl.len()).collect().item())
        return next(len(self._array(name)) for name in self._files if name.startswith(f"{part}."))

    def column(self, part: Part, name: str) -> list[Any] | Array:
        """Raw values: a memory-mapped array (N, *shape), float64 (N,) with NaN, or a list of N cells.

        Raises NotFound, naming the nearest, for a part or a column that is not there.
        """
        import polars as pl

        self._check_part(part)
        if name not in self._places:
            raise NotFound.named("column", name, self._places)
        if f"{part}.{self._places[name]}.npy" in self._files:
            return self._array(f"{part}.{self._places[name]}.npy")
        return raw_cells(pl.read_parquet(self._files[f"{part}.parquet"], columns=[name])[name])

    def table(self, part: Part) -> pl.DataFrame:
        """All columns of cells; without columns where there are only arrays."""
        import polars as pl

        self._check_part(part)
        path = self._files.get(f"{part}.parquet")
        return pl.DataFrame() if path is None else pl.read_parquet(path)

    def as_source(self) -> Source:
        """The raw rows of every part, arrays memory-mapped, as they were when the files were written."""
        names = tuple(self._places)
        parts = {}
        for part in self.parts:
            held = {n: f"{part}.{place}.npy" for n, place in self._places.items()}
            parts[part] = PartRows(self.table(part), {n: self._array(file) for n, file in held.items() if file in self._files})
        return Source(self.schema.form, names, parts)

    def _array(self, file: str) -> Array:
        try:
            values: Array = np.load(self._files[file], mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            raise StorageFailed(f"the dataset's file {file} is gone or broken; add its data again") from None
        return values

    def _check_part(self, part: Part) -> None:
        if part not in self.parts:
            raise NotFound(f"the dataset has no part '{part}'{nearest(part, self.parts)}")

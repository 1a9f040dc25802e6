"""A dataset's files: what comes back, under any path, and that equal content gives equal bytes."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from modeltap.data.infer import infer_schema
from modeltap.data.source import PartRows, Source
from modeltap.data.store import open_dataset, write_dataset
from modeltap.errors import NotFound, StorageFailed

TABLE = pl.DataFrame(
    {"größe": [" 1 ", "", None], "n": [1, None, 3], "x": [0.5, None, 2.5], "d": [date(2024, 1, 1), None, date(2024, 1, 3)]}
)


def pictures(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)


def test_cells_come_back_as_they_were_read(tmp_path: Path) -> None:
    source = Source("table", tuple(TABLE.columns), {"rows": PartRows(TABLE)})
    schema, _ = infer_schema(source)
    stored = open_dataset(write_dataset(source, schema, tmp_path / "new" / "folder"))
    assert stored.schema == schema
    assert stored.parts == ("rows",)
    assert stored.num_rows("rows") == 3
    assert stored.column("rows", "größe") == [" 1 ", "", None]
    assert stored.column("rows", "d") == [date(2024, 1, 1), None, date(2024, 1, 3)]
    np.testing.assert_array_equal(stored.column("rows", "x"), [0.5, np.nan, 2.5])
    assert stored.table("rows").equals(TABLE)
    assert stored.as_source().parts["rows"].table.equals(TABLE)


def test_arrays_are_mapped_from_files_under_any_name(tmp_path: Path) -> None:
    labels = pl.DataFrame({"label": ["a", "b", "a"]})
    parts = {"train": PartRows(labels, {"image": pictures(3)}), "test": PartRows(labels.head(2), {"image": pictures(2)})}
    source = Source("images", ("image", "label"), parts)  # type: ignore[arg-type]
    files = write_dataset(source, infer_schema(source)[0], tmp_path)
    assert sorted(files) == ["schema.json", "test.0.npy", "test.parquet", "train.0.npy", "train.parquet"]
    blobs = {}
    for number, (name, path) in enumerate(files.items()):
        blobs[name] = Path(shutil.copy(path, tmp_path / f"blob{number}"))
    stored = open_dataset(blobs)
    assert stored.parts == ("train", "test")
    assert (stored.num_rows("train"), stored.num_rows("test")) == (3, 2)
    values = stored.column("train", "image")
    assert isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, pictures(3))
    assert stored.column("test", "label") == ["a", "b"]
    np.testing.assert_array_equal(stored.as_source().parts["test"].column("image"), pictures(2))


def test_arrays_alone_need_no_table(tmp_path: Path) -> None:
    source = Source("arrays", ("x",), {"rows": PartRows(pl.DataFrame(), {"x": np.zeros((4, 2), np.float32)})})
    stored = open_dataset(write_dataset(source, infer_schema(source)[0], tmp_path))
    assert stored.num_rows("rows") == 4
    assert stored.table("rows").width == 0


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = pl.DataFrame({"w": [f"word {n}" for n in rng.integers(0, 50, 5000)], "x": rng.normal(size=5000)})
    written = []
    for folder, table in (("a", words), ("b", pl.concat([words.head(10), words.slice(10)], rechunk=False))):
        values = np.asfortranarray(np.ones((5000, 2), np.float32))
        source = Source("table", ("w", "x", "v"), {"rows": PartRows(table, {"v": values})})
        files = write_dataset(source, infer_schema(source)[0], tmp_path / folder)
        written.append({name: path.read_bytes() for name, path in files.items()})
    assert written[0] == written[1]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    source = Source("table", tuple(TABLE.columns), {"rows": PartRows(TABLE)})
    files = write_dataset(source, infer_schema(source)[0], tmp_path)
    stored = open_dataset(files)
    with pytest.raises(NotFound, match="did you mean 'größe'"):
        stored.column("rows", "grösse")
    with pytest.raises(NotFound, match="no part 'test'"):
        stored.num_rows("test")
    with pytest.raises(StorageFailed):
        open_dataset({name: path for name, path in files.items() if name != "schema.json"})
    files["schema.json"].write_bytes(b"{")
    with pytest.raises(StorageFailed):
        open_dataset(files)


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    source = Source("table", tuple(TABLE.columns), {"rows": PartRows(TABLE)})
    with pytest.raises(StorageFailed) as caught:
        write_dataset(source, infer_schema(source)[0], tmp_path / "taken")
    assert str(tmp_path) not in caught.value.message

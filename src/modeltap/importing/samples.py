"""Inputs to try a network with: those that a person gave as a file, else generated ones.

Letters: N rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modeltap.data.rows import RowReader
from modeltap.domain.dataset import Schema
from modeltap.domain.signature import NUMPY_DTYPE, Batch
from modeltap.errors import InvalidData, InvalidValue

MAX_SAMPLE_BYTES = 64 << 20
MOST_ROWS = 64
GENERATED_ROWS = 8
SEED = 0
ENDINGS = (".npy", ".npz", ".json", ".jsonl", ".csv", ".tsv", ".txt")


def read_sample(path: Path, schema: Schema) -> Batch:
    """The first MOST_ROWS rows of the file, as the network takes them.

    Raises InvalidData for a file that cannot be read, or whose rows do not fit the network's input.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InvalidData(f"a sample is read from a file that ends in one of: {', '.join(ENDINGS)}; given was '{ending[:20]}'")
    if path.stat().st_size > MAX_SAMPLE_BYTES:
        raise InvalidData(f"the sample has more than {MAX_SAMPLE_BYTES:,} bytes; {MOST_ROWS} rows are enough")
    reader = RowReader(schema)
    try:
        if ending in (".npy", ".npz"):
            return reader.columns(_arrays(path, reader))
        rows = _rows(path, ending, reader)
        return reader.rows(rows[:MOST_ROWS])
    except InvalidValue as problem:
        raise InvalidData(f"the sample does not fit: {problem.message}") from None
    except (UnicodeDecodeError, msgspec.MsgspecError):
        raise InvalidData(f"the sample cannot be read as {ending[1:]}") from None


def generated_sample(schema: Schema, *, below: int | None = None) -> Batch:
    """GENERATED_ROWS rows of seeded numbers; whole ones lie in [0, below)."""
    chance = np.random.default_rng(SEED)
    batch: Batch = {}
    for column in schema.features:
        shape, dtype = (GENERATED_ROWS, *column.shape), NUMPY_DTYPE[column.datatype]
        values = chance.standard_normal(shape) if dtype.kind == "f" else chance.integers(0, below or 2, shape)
        batch[column.name] = np.asarray(values).astype(dtype)
    return batch


def resized(batch: Batch, num_rows: int) -> Batch:
    """So many rows of the batch, from its beginning again where it has fewer."""
    return {name: values[np.resize(np.arange(len(values)), num_rows)] for name, values in batch.items()}


def _arrays(path: Path, reader: RowReader) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                if reader.single is None:
                    raise InvalidData(f"an .npy file holds one array, the network takes: {', '.join(reader.names)}; give .npz")
                return {reader.single.name: found[:MOST_ROWS]}
            return {name: found[name][:MOST_ROWS] for name in found.files}
    except (ValueError, OSError, EOFError, KeyError):
        raise InvalidData(f"the sample cannot be read as {path.suffix[1:]}, or holds objects; save plain arrays") from None


def _rows(path: Path, ending: str, reader: RowReader) -> list[Any]:
    text = path.read_text(encoding="utf-8-sig")
    if ending in (".csv", ".tsv"):
        return reader.csv_rows(text)
    if ending == ".txt":
        return [line for line in text.splitlines() if line.strip()]
    if ending == ".jsonl":
        return [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
    said = msgspec.json.decode(text)
    if isinstance(said, dict):
        said = said.get("instances", said)
    return said if isinstance(said, list) else [said]

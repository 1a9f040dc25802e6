"""Rows of a dataset with their truth, as an imported version can be compared with: which of its outputs is the answer, whether
that is a class or a number, and what the classes are called.

Letters: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.bundle.golden import Run
from modeltap.bundle.join import free_name
from modeltap.control.reading import Reading, answer_output, output_spec, truth_kind
from modeltap.data.split import PartIndex, plan_split
from modeltap.data.store import StoredDataset
from modeltap.domain.dataset import Column, Part, Schema
from modeltap.domain.model import Manifest
from modeltap.domain.recipe import Split
from modeltap.domain.signature import Array, Batch
from modeltap.errors import InvalidData
from modeltap.evaluation.result import SUM_TOLERANCE
from modeltap.runner.imported_inputs import InputReader
from modeltap.runner.known_labels import known_labels
from modeltap.runner.prepare import TRAINED_PARTS, PartData, Prepared, encode_target, read_column

BINARY = 2


@dataclass(frozen=True)
class ImportedRows:
    """`parts`: of each stored part the rows that have a truth. `target` is the column as it was read."""

    output: str
    target: Column
    labels: tuple[str, ...]
    """Empty where numbers are compared."""
    inputs: tuple[Column, ...]
    parts: dict[Part, PartData]
    notices: list[str] = field(default_factory=list)

    def answers(self, outputs: Batch) -> Array:
        """(N, C) probabilities, or (N,) numbers, of what the version gave. Raises InvalidData where it gave no numbers."""
        raw: NDArray[Any] = np.asarray(outputs[self.output], dtype=np.float64)
        if not np.isfinite(raw).all():
            raise InvalidData(
                f"the version gives no finite numbers in '{self.output}' for {int((~_finite(raw)).sum()):,} of"
                f" {len(raw):,} rows; are the rows scaled as those that it was trained on?"
            )
        if not self.labels:
            return raw.reshape(len(raw))
        flat = raw.reshape(len(raw), -1)
        if flat.shape[1] == 1:
            if not bool(((flat >= 0) & (flat <= 1)).all()):
                self._tell("its output is no probability; the sigmoid of it was taken")
                flat = 1 / (1 + np.exp(-np.clip(flat, -700, 700)))
            return np.concatenate([1 - flat, flat], axis=1)
        if flat.shape[1] != len(self.labels):
            raise InvalidData(
                f"the version gives {flat.shape[1]} numbers a row in '{self.output}', and there are {len(self.labels)} classes:"
                f" {', '.join(self.labels[:20])}; name them in the order of the outputs with --labels"
            )
        if bool((flat >= 0).all()) and bool((np.abs(flat.sum(axis=1) - 1) <= SUM_TOLERANCE).all()):
            return flat
        self._tell("its outputs are no probabilities; their softmax was taken")
        shifted = np.exp(flat - flat.max(axis=1, keepdims=True))
        shares: Array = shifted / shifted.sum(axis=1, keepdims=True)
        return shares

    def _tell(self, notice: str) -> None:
        if notice not in self.notices:
            self.notices.append(notice)


def read_imported_rows(
    stored: StoredDataset,
    dataset: str,
    manifest: Manifest,
    reading: Reading,
    parts: Sequence[Part],
    *,
    more: Sequence[Column] = (),
) -> ImportedRows:
    """The rows of these stored parts. `more` are columns of the dataset that are read beside the version's own, to slice by.

    Raises InvalidData where version and dataset do not fit: what the one takes and the other has is named.
    """
    output = answer_output(manifest)
    target = stored.schema.column(reading.target)
    assert target is not None
    target = msgspec.structs.replace(target, kind=truth_kind(manifest, target, reading), role="target")
    reader = InputReader(manifest, stored, dataset, reading)
    schema = stored.schema.with_target(target.name).with_column(target)
    inputs = {part: reader.read(part) for part in parts}
    truths = {part: read_column(stored, part, target.name, target, schema) for part in parts}
    labels = _labels(manifest, output, reading, truths, dataset) if target.kind == "category" else ()
    read: dict[Part, PartData] = {}
    lost = 0
    for part, given in truths.items():
        columns = inputs[part] | {
            c.name: read_column(stored, part, c.name, c, schema) for c in more if c.name not in inputs[part]
        }
        codes, is_known = encode_target(known_labels(given, labels) if labels else given, labels)
        is_known = is_known & _has_all(codes, columns, reader.columns)
        lost += int((~is_known).sum())
        index = np.flatnonzero(is_known).astype(np.int64)
        read[part] = PartData(part, index, {name: values[index] for name, values in columns.items()}, codes[index])
    if not any(map(len, read.values())):
        told = f"the version knows: {', '.join(labels[:10])}" if labels else "every number is missing"
        raise InvalidData(f"no row of {dataset} has a '{target.name}' to compare with; {told}")
    notices = [
        *reader.notices,
        *([f"{lost:,} rows have no '{target.name}' or number to compare and were left out"] * (lost > 0)),
    ]
    return ImportedRows(output, target, labels, reader.columns, read, notices)


def prepare_imported(
    stored: StoredDataset, dataset: str, manifest: Manifest, reading: Reading, split: Split
) -> tuple[Prepared, ImportedRows]:
    """The rows in the three parts that a training would have made of them, under the columns that the version takes."""
    found = read_imported_rows(stored, dataset, manifest, reading, stored.parts)
    schema = stored.schema.with_target(found.target.name).with_column(found.target)
    planned = plan_split(stored, split, target_is_class=bool(found.labels), schema=schema)
    parts: dict[Part, PartData] = {}
    for name in TRAINED_PARTS:
        index: PartIndex = getattr(planned, name)
        given = found.parts[index.stored]
        chosen = np.isin(given.rows, index.index)
        columns = {column: values[chosen] for column, values in given.columns.items()}
        parts[name] = PartData(index.stored, given.rows[chosen], columns, given.target[chosen])
    target = msgspec.structs.replace(found.target, name=free_name(found.target.name, {c.name for c in found.inputs}))
    own = Schema(
        form=manifest.schema.form, columns=(*found.inputs, target), missing=manifest.schema.missing or stored.schema.missing
    )
    prepared = Prepared(own, {c.name: c.name for c in found.inputs}, found.labels, parts, (*planned.notices, *found.notices))
    return prepared, found


def run_rows(run: Run, manifest: Manifest, columns: Batch, run_in_chunks: Callable[[Run, Batch], Batch]) -> Batch:
    """What the version gives for all rows: many at a time, or one by one where a row's answer depends on the others."""
    if manifest.is_batched:
        return run_in_chunks(run, columns)
    num_rows = len(next(iter(columns.values())))
    single = [run({name: values[row : row + 1] for name, values in columns.items()}) for row in range(num_rows)]
    return {name: np.concatenate([one[name] for one in single]) for name in single[0]}


def joined_parts(parts: Sequence[PartData]) -> PartData:
    """The rows of all of them, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return PartData(
        parts[0].stored,
        np.concatenate([part.rows for part in parts]),
        columns,
        np.concatenate([part.target for part in parts]),
    )


def _labels(manifest: Manifest, output: str, reading: Reading, truths: dict[Part, Array], dataset: str) -> tuple[str, ...]:
    """In the order of the outputs: as the version has them, as they were said, or the dataset's own in their order."""
    inner = output_spec(manifest, output).shape[1:]
    width = next((extent for extent in inner if extent != 1), BINARY)
    if manifest.labels or reading.labels:
        if manifest.labels and reading.labels and len(reading.labels) != len(manifest.labels):
            raise InvalidData(
                f"the version tells {len(manifest.labels)} classes apart, and {len(reading.labels)} labels were given"
            )
        labels = reading.labels or manifest.labels
        if width > 0 and not manifest.labels and len(labels) != width:
            raise InvalidData(f"the version gives {width} numbers a row, and {len(labels)} labels were given")
        return labels
    found = sorted({text for given in truths.values() for text in given.tolist() if text})
    try:
        places = {text: float(text) for text in found}
    except ValueError:
        places = {}
    is_count = bool(places) and all(place.is_integer() and place >= 0 for place in places.values())
    if is_count and width > 0 and max(places.values()) < width:
        return tuple(map(str, range(width)))
    if width > 0 and len(found) != width:
        raise InvalidData(
            f"the version tells {width} classes apart, and the target of {dataset} has {len(found)}:"
            f" {', '.join(found[:10])}; name the classes in the order of the outputs with --labels"
        )
    return tuple(sorted(found, key=places.__getitem__)) if places else tuple(found)


def _has_all(codes: Array, columns: Batch, inputs: Sequence[Column]) -> NDArray[np.bool_]:
    """The rows whose truth, and every number of whose arrays, is there."""
    is_there = ~np.isnan(codes) if codes.dtype.kind == "f" else np.ones(len(codes), dtype=np.bool_)
    for column in inputs:
        values = columns[column.name]
        if column.kind == "array" and values.dtype.kind == "f":
            is_there &= _finite(values)
    return is_there


def _finite(values: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))

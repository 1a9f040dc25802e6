"""A dataset's columns → what an imported network takes: pictures in its layout and scale, numbers side by side in one array.

Letters: N rows, H height, W width, C channels, F columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from modeltap.control.reading import Reading
from modeltap.data.store import StoredDataset
from modeltap.data.text_columns import text_columns
from modeltap.domain.dataset import Column, Part, Schema
from modeltap.domain.model import Manifest
from modeltap.domain.signature import NUMPY_DTYPE, Array, Batch
from modeltap.errors import InvalidData, InvalidInput, nearest
from modeltap.runner.prepare import read_column

BLOCKS = ("image", "array")
PIXEL_SCALE = 1 / 255
FREE = -1


def input_columns(manifest: Manifest) -> tuple[Column, ...]:
    """What a row of the version consists of; of a graph without rows, what stands behind the first axis of its inputs.

    Raises InvalidData for inputs that no row of a dataset becomes.
    """
    if manifest.schema.features:
        return manifest.schema.features
    columns = []
    for spec in manifest.signature.inputs:
        if spec.datatype == "BYTES":
            raise InvalidData(f"the version takes texts in '{spec.name}', as a tensor; no column of a dataset is read as that")
        if not spec.shape or spec.shape[0] not in (FREE, 1):
            told = f"{spec.shape[0]} rows at a time" if spec.shape else "one number for all rows"
            raise InvalidData(f"the version takes {told} in '{spec.name}'; export it with a free first axis, and import that")
        columns.append(Column(name=spec.name, kind="array", shape=spec.shape[1:], datatype=spec.datatype))
    return tuple(columns)


class InputReader:
    """Reads the inputs of one version out of one dataset; `notices` is what was decided on the way."""

    def __init__(self, manifest: Manifest, stored: StoredDataset, dataset: str, reading: Reading) -> None:
        self.columns = input_columns(manifest)
        self.notices: list[str] = []
        self._manifest = manifest
        self._stored = stored
        self._dataset = dataset
        self._reading = reading
        self._given: Schema = stored.schema.with_target(reading.target)
        pictures = any(column.kind == "image" for column in self._given.features)
        if reading.scale is not None and not (pictures and any(column.kind == "array" for column in self.columns)):
            raise InvalidInput("scale is for pictures that a network takes as numbers; leave it out here")

    def read(self, part: Part) -> Batch:
        """Every row of the part. Raises InvalidData where the dataset has not what the version takes."""
        if len(self.columns) == 1 and self.columns[0].kind == "array":
            return {self.columns[0].name: self._only(self.columns[0], part)}
        return {column.name: self._named(column, part) for column in self.columns}

    def _only(self, wanted: Column, part: Part) -> Array:
        """Of a version of one array: the column of its name, the only picture or array, or all numbers side by side."""
        features = self._given.features
        named = next((column for column in features if column.name == wanted.name), None)
        blocks = [column for column in features if column.kind in BLOCKS]
        if named is not None and (named.kind in BLOCKS or len(features) == 1):
            return self._block(named, wanted, part)
        if len(blocks) == 1:
            return self._block(blocks[0], wanted, part)
        if len(wanted.shape) == 1 and not blocks:
            return self._side_by_side(features, wanted, part)
        raise self._does_not_fit(wanted)

    def _named(self, wanted: Column, part: Part) -> Array:
        known = [column.name for column in self._given.features]
        own = self._given.column(wanted.name)
        if own is None and wanted.kind == "text" and len(self.columns) == 1:
            own, *others = text_columns(self._given)
            own = None if others else own
        if own is None or own.role == "target":
            raise InvalidData(
                f"{self._dataset} has no column '{wanted.name}', which the version needs{nearest(wanted.name, known)}"
            )
        if wanted.kind == "array":
            return self._block(own, wanted, part)
        return read_column(self._stored, part, own.name, wanted, self._schema(wanted))

    def _schema(self, wanted: Column) -> Schema:
        """By which a column is read: a version's own missing texts where it has some, else the dataset's."""
        return self._manifest.schema if self._manifest.schema.missing and wanted.kind != "text" else self._given

    def _block(self, own: Column, wanted: Column, part: Part) -> Array:
        values = read_column(self._stored, part, own.name, own, self._given)
        if values.dtype == object:
            raise self._does_not_fit(wanted)
        fitting = next((one for one in layouts(values, wanted.shape) if _matches(one.shape[1:], wanted.shape)), None)
        if fitting is None:
            raise InvalidData(
                f"'{own.name}' of {self._dataset} is {list(values.shape[1:])} a row, and the version takes"
                f" {list(wanted.shape)} in '{wanted.name}'; give pictures of that size"
            )
        if own.kind != "image" or wanted.datatype not in ("FP16", "FP32", "FP64"):
            return _cast(fitting, wanted)
        scale = PIXEL_SCALE if self._reading.scale is None else self._reading.scale
        if self._reading.scale is None:
            self._tell("pixels were divided by 255, so that they lie from 0 to 1; scale 1 gives them as they are")
        pixels: Any = fitting
        return np.asarray(pixels * np.float32(scale), dtype=NUMPY_DTYPE[wanted.datatype])

    def _side_by_side(self, features: Sequence[Column], wanted: Column, part: Part) -> Array:
        numbers = [column for column in features if column.kind in ("number", "boolean")]
        others = [column.name for column in features if column not in numbers]
        if others or not _matches((len(numbers),), wanted.shape):
            told = f", and {', '.join(others[:5])} hold no numbers" if others else ""
            raise InvalidData(
                f"the version takes {wanted.shape[0]} numbers in '{wanted.name}', {self._dataset} has {len(numbers)} columns of"
                f" numbers{told}; add the data with those columns alone (--kind NAME=ignored)"
            )
        self._tell(f"'{wanted.name}' is made of the columns in their order: {', '.join(c.name for c in numbers)[:300]}")
        columns = [read_column(self._stored, part, column.name, column, self._given) for column in numbers]
        return _cast(np.stack(columns, axis=1), wanted)

    def _does_not_fit(self, wanted: Column) -> InvalidData:
        has = ", ".join(f"{column.name} ({column.kind})" for column in self._given.features[:10]) or "no other column"
        return InvalidData(
            f"the version takes an array {list(wanted.shape)} in '{wanted.name}', and {self._dataset} has {has}: no column of"
            " that name, nor a single picture or array"
        )

    def _tell(self, notice: str) -> None:
        if notice not in self.notices:
            self.notices.append(notice)


def layouts(values: Array, wanted: Sequence[int]) -> Iterator[Array]:
    """The same rows as they are, with a channel more or less, with the channels first, or flat."""
    yield values
    if values.ndim == 1 and len(wanted) == 1:
        yield values[:, None]
    if values.ndim == 3:
        yield values[..., None]
        yield values[:, None]
    if values.ndim == 4:
        yield np.moveaxis(values, -1, 1)
        if 1 in (values.shape[1], values.shape[-1]):
            yield values[..., 0] if values.shape[-1] == 1 else values[:, 0]
    if len(wanted) == 1 and values.ndim > 2:
        yield values.reshape(len(values), math.prod(values.shape[1:]))


def _matches(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(want in (FREE, own) for own, want in zip(shape, wanted, strict=True))


def _cast(values: Array, wanted: Column) -> Array:
    """As the network takes them. Raises InvalidData where that would change a number."""
    datatype = NUMPY_DTYPE[wanted.datatype]
    if np.issubdtype(datatype, np.floating):
        return values.astype(datatype)
    given: Any = values.astype(np.float64) if values.dtype == np.bool_ else values
    limits = (0, 1) if datatype == np.bool_ else (np.iinfo(datatype).min, np.iinfo(datatype).max)
    if len(given) and not bool(((given == np.round(given)) & (given >= limits[0]) & (given <= limits[1])).all()):
        raise InvalidData(f"the version takes {wanted.datatype} in '{wanted.name}', and the rows hold other numbers than those")
    cast: Array = given.astype(datatype)
    return cast

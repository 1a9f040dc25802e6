"""/v2 tensors → a graph's inputs. For a model that was trained here `data/rows` reads what they hold, like every other wire
value; a graph that was imported takes them as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from modeltap.api.narrowing import narrowed
from modeltap.api.row_limit import check_rows
from modeltap.api.tensor_data import TensorData
from modeltap.data.cells import shown
from modeltap.data.rows import RowReader, input_spec
from modeltap.data.tensor_bytes import decode_elements
from modeltap.domain.dataset import Column
from modeltap.domain.model import Manifest
from modeltap.domain.signature import NUMPY_DTYPE, Array, Batch, Datatype, Signature, TensorSpec
from modeltap.errors import InvalidValue, nearest
from modeltap.tasks.tensors import TASK as TENSORS

NUMERIC = frozenset(NUMPY_DTYPE) - {"BYTES", "BOOL"}
TAKES: dict[str, frozenset[str]] = {
    "number": NUMERIC | {"BYTES"},
    "boolean": NUMERIC | {"BYTES", "BOOL"},
    "datetime": NUMERIC | {"BYTES"},
    "category": frozenset({"BYTES"}),
    "text": frozenset({"BYTES"}),
    "image": NUMERIC | {"BYTES"},
    "array": NUMERIC,
}
"""Datatypes that a column of each kind takes; a number may come as text, as it may in every other form."""

MAX_AXES = 8


class Tensor(NamedTuple):
    """One tensor of a request, whatever protocol it came by."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    data: TensorData


class TensorReader(Protocol):
    """Reads the tensors of requests to one version."""

    def read(self, tensors: Sequence[Tensor]) -> tuple[Batch, int]:
        """The graph's inputs and the number of their rows. Raises InvalidValue naming the tensor that does not fit."""


def tensor_reader(manifest: Manifest, rows: RowReader) -> TensorReader:
    """The reader for a version."""
    if manifest.task == TENSORS.name:
        return GraphTensors(manifest.signature, is_batched=manifest.is_batched)
    return ColumnTensors(rows)


class ColumnTensors:
    """Tensors of columns: one row or one block of numbers for each step of the first axis."""

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        self._columns = {column.name: column for column in reader.features}

    def read(self, tensors: Sequence[Tensor]) -> tuple[Batch, int]:
        given: dict[str, Any] = {}
        for tensor in tensors:
            column = self._columns.get(tensor.name)
            _check_name(tensor.name, given, self._columns, is_known=column is not None)
            assert column is not None
            with_name = f"input '{column.name}'"
            _check_column(tensor, column, with_name)
            try:
                given[tensor.name] = _column_values(tensor, column)
            except InvalidValue as problem:
                raise InvalidValue(f"{with_name}: {problem.message}") from None
        _check_all_there(given, self._columns)
        batch = self._reader.columns(given)
        return batch, len(next(iter(batch.values())))


def _check_column(tensor: Tensor, column: Column, with_name: str) -> None:
    shape = tensor.shape
    if tensor.datatype not in TAKES[column.kind]:
        raise InvalidValue(
            f"{with_name} takes {input_spec(column).datatype}, given was {tensor.datatype}"
            f" (also taken: {', '.join(sorted(TAKES[column.kind]))})"
        )
    if not 1 <= len(shape) <= MAX_AXES or min(shape) < 0:
        raise InvalidValue(
            f"{with_name} has the shape {shown(list(shape))}; the first extent is the number of rows, and there are at most"
            f" {MAX_AXES}"
        )
    is_block = column.kind in ("image", "array") and tensor.datatype != "BYTES"
    if is_block and shape[1:] != column.shape and _long_axes(shape[1:]) != _long_axes(column.shape):
        taken = ", ".join(map(str, ("N", *column.shape)))
        raise InvalidValue(f"{with_name} has the shape {list(shape)}, the model takes [{taken}]")


def _column_values(tensor: Tensor, column: Column) -> Any:
    shape = tensor.shape
    size = math.prod(shape)
    if column.kind in ("image", "array") and tensor.datatype != "BYTES":
        numbers = tensor.data.numbers(tensor.datatype, shape)
        _check_size(len(numbers), size, shape)
        return numbers.reshape(shape[0], *column.shape)
    check_rows(shape[0])
    values: Any = None
    if column.kind == "number" and tensor.datatype != "BYTES":
        values = tensor.data.doubles(tensor.datatype, shape)
    if values is None:
        values = tensor.data.values(tensor.datatype, shape)
    _check_size(len(values), size, shape)
    if size != shape[0]:
        raise InvalidValue(f"it has the shape {shown(list(shape))}, the model takes [{shape[0]}] or [{shape[0]}, 1]")
    if tensor.datatype == "BYTES" and column.kind != "image" and size and isinstance(values[0], bytes):
        return decode_elements(values)
    return values


class GraphTensors:
    """Tensors exactly as the graph's signature has them."""

    def __init__(self, signature: Signature, *, is_batched: bool) -> None:
        self._specs = {spec.name: spec for spec in signature.inputs}
        self._is_batched = is_batched

    def read(self, tensors: Sequence[Tensor]) -> tuple[Batch, int]:
        batch: Batch = {}
        for tensor in tensors:
            spec = self._specs.get(tensor.name)
            _check_name(tensor.name, batch, self._specs, is_known=spec is not None)
            assert spec is not None
            try:
                batch[tensor.name] = _graph_values(tensor, spec)
            except InvalidValue as problem:
                raise InvalidValue(f"input '{spec.name}': {problem.message}") from None
        _check_all_there(batch, self._specs)
        return batch, self._num_rows(batch) if self._is_batched else 1

    def _num_rows(self, batch: Batch) -> int:
        lengths = {name: len(values) for name, values in batch.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"'{name}' has {length}" for name, length in lengths.items())
            raise InvalidValue(f"the inputs differ in their number of rows: {told}")
        num_rows = next(iter(lengths.values()))
        if not num_rows:
            raise InvalidValue("there are no rows; send at least one")
        return num_rows


def _graph_values(tensor: Tensor, spec: TensorSpec) -> Array:
    datatype, shape = spec.datatype, tensor.shape
    if tensor.datatype != datatype:
        raise InvalidValue(f"the model takes {datatype}, given was {tensor.datatype}")
    if not _fits(shape, spec.shape):
        raise InvalidValue(f"it has the shape {shown(list(shape))}, the model takes {list(spec.shape)} (-1 is any number)")
    size = math.prod(shape)
    if datatype == "BYTES":
        texts = _texts(tensor.data.values(datatype, shape))
        _check_size(len(texts), size, shape)
        return texts.reshape(shape)
    numbers = tensor.data.numbers(datatype, shape)
    _check_size(len(numbers), size, shape)
    return narrowed(numbers, datatype).reshape(shape)


def _fits(shape: tuple[int, ...], taken: tuple[int, ...]) -> bool:
    if len(shape) != len(taken):
        return False
    for extent, allowed in zip(shape, taken, strict=True):  # noqa: SIM110  faster than a generator, at each request
        if extent != allowed and not (allowed < 0 <= extent):
            return False
    return True


def _texts(values: list[Any]) -> Array:
    texts = np.empty(len(values), dtype=object)
    texts[:] = decode_elements(values) if values and isinstance(values[0], bytes) else values
    if not all(isinstance(text, str) for text in texts.tolist()):
        raise InvalidValue("the data holds something that is no text")
    return texts


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [extent for extent in shape if extent != 1]


def _check_name(name: str, seen: dict[str, Any], known: Any, *, is_known: bool) -> None:
    if name in seen:
        raise InvalidValue(f"input {shown(name)} is there twice")
    if not is_known:
        raise InvalidValue(f"the model has no input {shown(name)}{nearest(name, known)}")


def _check_all_there(given: dict[str, Any], known: Any) -> None:
    if len(given) == len(known):
        return
    absent = next(name for name in known if name not in given)
    raise InvalidValue(f"input '{absent}' is missing; the model takes: {', '.join(known)}")


def _check_size(count: int, size: int, shape: tuple[int, ...]) -> None:
    if count != size:
        raise InvalidValue(f"it has {count} elements, its shape {shown(list(shape))} says {size}")

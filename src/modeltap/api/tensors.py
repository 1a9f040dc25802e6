"""/v2 tensors ⇄ the graph's inputs and outputs. What a tensor holds is read by `data/rows`, like every other wire value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from modeltap.data.cells import shown
from modeltap.data.rows import RowReader, input_spec
from modeltap.domain.dataset import Column
from modeltap.domain.signature import NUMPY_DTYPE, Array, Batch, Datatype, Signature
from modeltap.errors import InvalidValue, nearest

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


class WireTensor(msgspec.Struct, frozen=True):
    """A tensor as the request has it; `data` is nested or flat, row-major."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


def read_tensors(tensors: Sequence[WireTensor], reader: RowReader) -> Batch:
    """The graph's inputs. Raises InvalidValue naming the tensor: unknown, missing, of another datatype or shape."""
    columns: dict[str, Any] = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise InvalidValue(f"input {shown(tensor.name)} is there twice")
        column = reader.schema.column(tensor.name)
        if column is None or column.role != "feature":
            raise InvalidValue(f"the model has no input {shown(tensor.name)}{nearest(tensor.name, reader.names)}")
        columns[tensor.name] = _values(tensor, column)
    for column in reader.features:
        if column.name not in columns:
            raise InvalidValue(f"input '{column.name}' is missing; the model takes: {', '.join(reader.names)}")
    return reader.columns(columns)


def _values(tensor: WireTensor, column: Column) -> Any:
    if tensor.datatype not in TAKES[column.kind]:
        raise InvalidValue(
            f"input '{column.name}' takes {input_spec(column).datatype}, given was {tensor.datatype}"
            f" (also taken: {', '.join(sorted(TAKES[column.kind]))})"
        )
    if tensor.data is None:
        raise InvalidValue(f"input '{column.name}' has no data")
    if not 1 <= len(tensor.shape) <= MAX_AXES or any(extent < 0 for extent in tensor.shape):
        raise InvalidValue(
            f"input '{column.name}' has the shape {shown(tensor.shape)}; the first extent is the number of rows, and there are"
            f" at most {MAX_AXES}"
        )
    flat = _flatten(tensor.data, len(tensor.shape))
    size = math.prod(tensor.shape)
    if len(flat) != size:
        raise InvalidValue(f"input '{column.name}' has {len(flat)} elements, its shape {shown(tensor.shape)} says {size}")
    num_rows = tensor.shape[0]
    if column.kind in ("image", "array") and tensor.datatype != "BYTES":
        return _block(column, flat, tensor.shape)
    if size != num_rows:
        raise InvalidValue(
            f"input '{column.name}' has the shape {shown(tensor.shape)}, the model takes [{num_rows}] or [{num_rows}, 1]"
        )
    return flat


def _block(column: Column, flat: list[Any], shape: list[int]) -> Array:
    expected = [shape[0], *column.shape]
    if [n for n in shape[1:] if n != 1] != [n for n in column.shape if n != 1]:
        raise InvalidValue(
            f"input '{column.name}' has the shape {shape}, the model takes {['N', *column.shape]}".replace("'N'", "N")
        )
    try:
        values = np.array(flat)
    except (ValueError, OverflowError):
        raise InvalidValue(f"input '{column.name}' holds something that is not a number") from None
    if values.dtype.kind not in "uifb" or values.ndim != 1:
        raise InvalidValue(f"input '{column.name}' holds something that is not a number")
    return values.reshape(expected)


def _flatten(data: list[Any], depth: int) -> list[Any]:
    for _ in range(depth - 1):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(part, list) for part in data):
            raise InvalidValue("the data mixes arrays and single values")
        data = [element for part in data for element in part]
    return data


def write_tensors(outputs: Batch, signature: Signature, wanted: Sequence[str] | None) -> list[dict[str, Any]]:
    """The wanted outputs (all, if None) as the answer has them, flat. Raises InvalidValue for one that does not exist, or that
    is wanted twice."""
    specs = {spec.name: spec for spec in signature.outputs}
    names = list(specs) if wanted is None else list(wanted)
    if len(names) > len(set(names)):
        raise InvalidValue("an output is asked for twice")
    for name in names:
        if name not in specs:
            raise InvalidValue(f"the model has no output {shown(name)}{nearest(name, specs)}")
    return [
        {
            "name": name,
            "shape": list(outputs[name].shape),
            "datatype": specs[name].datatype,
            "data": outputs[name].reshape(-1).tolist(),
        }
        for name in names
    ]

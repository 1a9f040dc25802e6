"""What a tensor of a request holds, in the three forms it comes in: JSON text, bytes, or values of gRPC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from modeltap.api.body import parse_json
from modeltap.api.json_numbers import read_block
from modeltap.api.narrowing import element_of, graph_numbers
from modeltap.data.blocks import as_whole
from modeltap.data.tensor_bytes import Buffer, elements_from_bytes, numbers_from_bytes
from modeltap.domain.signature import NUMPY_DTYPE, Array, Datatype
from modeltap.errors import InvalidValue


class TensorData(Protocol):
    """Flat and row-major whatever it was. All raise InvalidValue for what is not of the datatype; they do not check how many
    elements there are."""

    def numbers(self, datatype: Datatype, shape: tuple[int, ...]) -> Array:
        """Numbers of a numeric datatype or BOOL; at least as wide as it, and within its range."""

    def values(self, datatype: Datatype, shape: tuple[int, ...]) -> list[Any]:
        """One Python value an element; None where JSON has a null, bytes or str for BYTES."""

    def doubles(self, datatype: Datatype, shape: tuple[int, ...]) -> Array | None:
        """What `values` gives, as 64-bit floats, where that can be had fast."""


class JsonData:
    """The text of an array in JSON, nested or flat. `is_cut`: it came from `cut_arrays` and may be read fast."""

    def __init__(self, text: bytes, *, is_cut: bool) -> None:
        self._text = text
        self.is_cut = is_cut

    def numbers(self, datatype: Datatype, shape: tuple[int, ...]) -> Array:
        found = read_block(self._text, element_of(datatype), shape) if self.is_cut and datatype != "BOOL" else None
        if found is None:
            found = plain_numbers(self.values(datatype, shape), datatype)
        return graph_numbers(found, datatype)

    def values(self, datatype: Datatype, shape: tuple[int, ...]) -> list[Any]:
        value = parse_json(self._text)
        if not isinstance(value, list):
            raise InvalidValue("the data is no array")
        return _flatten(value, len(shape))

    def doubles(self, datatype: Datatype, shape: tuple[int, ...]) -> Array | None:
        return read_block(self._text, "d", shape) if self.is_cut else None


class BinaryData:
    """The protocol's binary form."""

    def __init__(self, data: Buffer) -> None:
        self._data = data

    def numbers(self, datatype: Datatype, shape: tuple[int, ...]) -> Array:
        return numbers_from_bytes(self._data, datatype)

    def values(self, datatype: Datatype, shape: tuple[int, ...]) -> list[Any]:
        if datatype == "BYTES":
            return elements_from_bytes(self._data, math.prod(shape))
        listed: list[Any] = numbers_from_bytes(self._data, datatype).tolist()
        return listed

    def doubles(self, datatype: Datatype, shape: tuple[int, ...]) -> Array | None:
        return numbers_from_bytes(self._data, datatype).astype(np.float64)


class PlainData:
    """Values as a gRPC message holds them."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def numbers(self, datatype: Datatype, shape: tuple[int, ...]) -> Array:
        if datatype == "BOOL" or datatype[:2] == "FP":
            return np.array(self._values, dtype=NUMPY_DTYPE[datatype])
        wide: Array = np.array(self._values, dtype=np.uint64 if datatype[0] == "U" else np.int64)
        return as_whole(wide, NUMPY_DTYPE[datatype])

    def values(self, datatype: Datatype, shape: tuple[int, ...]) -> list[Any]:
        return list(self._values)

    def doubles(self, datatype: Datatype, shape: tuple[int, ...]) -> Array | None:
        return None


def plain_numbers(values: Sequence[Any], datatype: Datatype) -> Array:
    """The exact and slow way from Python's numbers: to 64-bit floats for a float datatype, else to integers, where a float
    that is a whole number is taken too."""
    if datatype == "BOOL":
        if not all(isinstance(value, bool) for value in values):
            raise InvalidValue("the data holds something that is neither true nor false")
        return np.array(values, dtype=np.bool_)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise InvalidValue("the data holds something that is not a number")
    try:
        if datatype[:2] == "FP":
            return np.array([float(value) for value in values], dtype=np.float64)
        return np.array([_whole(value) for value in values], dtype=np.uint64 if datatype == "UINT64" else np.int64)
    except OverflowError:
        raise InvalidValue(f"the data holds a number that {datatype} does not reach") from None


def _whole(value: float) -> int:
    if value != (whole := int(value)):
        raise InvalidValue("the data holds a number that is not whole")
    return whole


def _flatten(data: list[Any], depth: int) -> list[Any]:
    for _ in range(depth - 1):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(part, list) for part in data):
            raise InvalidValue("the data mixes arrays and single values")
        data = [element for part in data for element in part]
    return data

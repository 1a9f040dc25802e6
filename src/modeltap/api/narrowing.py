"""64-bit numbers, as JSON gives them, → those of a graph's own datatype."""

from __future__ import annotations

import math

import numpy as np

from modeltap.api.json_numbers import Element
from modeltap.data.blocks import as_whole
from modeltap.domain.signature import NUMPY_DTYPE, Array, Datatype
from modeltap.errors import InvalidValue

FEW_NUMBERS = 4096
REACHED = {"FP32": 1e76, "FP16": 4e9}
"""Where the squares of numbers add up to less, none of them is out of reach; to ask numpy to raise costs more than that."""


def narrowed(numbers: Array, datatype: Datatype) -> Array:
    """64-bit floats as the graph's own; what JSON writes is finite and must stay so."""
    dtype = NUMPY_DTYPE[datatype]
    if numbers.dtype == dtype:
        return numbers
    reached = REACHED.get(datatype)
    if reached is not None and numbers.ndim == 1 and len(numbers) <= FEW_NUMBERS and _squares(numbers) < reached:
        return numbers.astype(dtype)
    try:
        with np.errstate(over="raise"):
            return numbers.astype(dtype)
    except FloatingPointError:
        raise InvalidValue(f"the data holds a number that {datatype} does not reach") from None


def _squares(numbers: Array) -> float:
    """The sum of their squares; infinite where that is out of reach itself."""
    try:
        return float(numbers.dot(numbers))
    except RuntimeWarning:  # where warnings are errors
        return math.inf


def graph_numbers(found: Array, datatype: Datatype) -> Array:
    """Numbers of the datatype, floats still of 64 bits. Raises InvalidValue where one is out of its reach or not whole."""
    return found if found.dtype.kind == "f" and datatype[:2] == "FP" else as_whole(found, NUMPY_DTYPE[datatype])


def element_of(datatype: Datatype) -> Element:
    """As what the reader of arrays takes its numbers."""
    return "d" if datatype[:2] == "FP" else "u" if datatype == "UINT64" else "i"

"""Arrays of numbers → one datatype and shape, the same way in training and in serving."""

from __future__ import annotations

from typing import Any

import numpy as np

from modeltap.data.images import fit_shape
from modeltap.domain.signature import NUMPY_DTYPE, Array, Datatype
from modeltap.errors import InvalidValue


def parse_block(value: Any, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    """The numbers as `datatype` in `shape`, which may differ from theirs in axes of length 1; also from texts that are numbers,
    as a CSV line has them. An array that fits already is returned as it is.

    Raises InvalidValue for what is no number, not finite, not whole or too large for the datatype.
    """
    try:
        block = np.asarray(value)
    except (ValueError, RecursionError):
        raise InvalidValue("the rows of the array differ in length, or it is nested too deeply") from None
    if block.dtype.kind == "U":
        try:
            block = block.astype(np.float64)
        except ValueError:
            raise InvalidValue("the array holds a text that is not a number") from None
    if block.dtype.kind not in "uifb":
        raise InvalidValue("the array holds something that is not a number")
    dtype = NUMPY_DTYPE[datatype]
    return fit_shape(_as_float(block, dtype) if dtype.kind == "f" else as_whole(block, dtype), shape)


def _as_float(block: Array, dtype: np.dtype) -> Array:
    cast = block
    if block.dtype != dtype:
        with np.errstate(over="ignore"):
            cast = block.astype(dtype)
    if not _is_finite(cast):
        if not _is_finite(block):
            raise InvalidValue("the array holds a number that is not finite")
        raise InvalidValue(f"the array holds a number too large for {dtype.itemsize * 8} bits")
    return cast


def as_whole(block: Array, dtype: np.dtype) -> Array:
    """The numbers as integers, or as booleans from 0 and 1. Raises InvalidValue where one is not whole or does not fit."""
    if block.dtype == dtype:
        return block
    if block.dtype.kind == "f" and not _is_finite(block):
        raise InvalidValue("the array holds a number that is not finite")
    if block.size and block.dtype.kind != "b":
        low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        if not low <= block.min().item() <= block.max().item() <= high:
            what = "neither 0 nor 1" if dtype.kind == "b" else f"too large for {dtype.itemsize * 8} bits ({low} to {high})"
            raise InvalidValue(f"the array holds a number that is {what}")
        if block.dtype.kind == "f" and not np.array_equal(block, np.floor(block)):
            raise InvalidValue("the array holds a number that is not whole")
    return block.astype(dtype)


def _is_finite(block: Array) -> bool:
    return bool(np.isfinite(block).all())

"""Tensors of several requests → one batch, and its outputs back to each. Where the model allows it, one axis is filled up.

A bucket is what requests must share to be stacked: the shapes of their rows, after filling up.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from modeltap.domain.signature import Array, Batch
from modeltap.errors import Broken, InvalidValue

Fill = bool | int | float | str


class Padding(msgspec.Struct, frozen=True, kw_only=True):
    """The axis that is as long as the request's rows: a text's tokens, a recording's samples. Axis 0 is the row.

    The model must give the same answers however far the axis is filled up, for instance because a mask goes with it.
    """

    inputs: dict[str, int]
    """Input name → its axis of that length. All of them agree in length within one request."""
    outputs: dict[str, int] = {}
    """Output name → the axis that is cut back to the request's length."""
    fill: dict[str, Fill] = {}
    """Input name → what it is filled with; 0, False or '' where nothing is said."""


def padded_length(length: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, …: few sizes, and less than a third of the axis is filling."""
    power = 1 << max(length - 1, 0).bit_length()
    smaller = power * 3 // 4
    return smaller if power >= 4 and length <= smaller else power


def length_of(inputs: Batch, padding: Padding) -> int:
    """How long the request's rows are. Raises InvalidValue where its inputs do not agree."""
    lengths: dict[str, int] = {name: inputs[name].shape[axis] for name, axis in padding.inputs.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise InvalidValue(f"the inputs of one request are equally long; these are not: {told}")
    return next(iter(lengths.values()))


def bucket_of(inputs: Batch, padding: Padding | None = None) -> Hashable:
    """What the inputs share with all that they may be stacked with: the shapes of their rows; scalars say nothing."""
    if padding is None:
        return tuple([(name, array.shape[1:]) for name, array in inputs.items() if array.ndim > 1])
    length = padded_length(length_of(inputs, padding))
    return tuple([(name, _filled_shape(array, padding.inputs.get(name), length)[1:]) for name, array in inputs.items()])


def stack(requests: Sequence[Batch], padding: Padding | None = None) -> Batch:
    """One batch of all their rows, in order; the requests are of one bucket and one signature. One alone is not copied."""
    if padding is None:
        if len(requests) == 1:
            return requests[0]
        return {name: _concatenated([request[name] for request in requests]) for name in requests[0]}
    length = padded_length(max(length_of(request, padding) for request in requests))
    stacked: Batch = {}
    for name in requests[0]:
        arrays = [request[name] for request in requests]
        axis = padding.inputs.get(name)
        if axis is None or all(array.shape[axis] == length for array in arrays):
            stacked[name] = _concatenated(arrays)
        else:
            stacked[name] = _filled(arrays, axis, length, padding.fill.get(name))
    return stacked


def split(
    outputs: Batch, rows: Sequence[int], padding: Padding | None = None, *, lengths: Sequence[int] | None = None
) -> list[Batch]:
    """The outputs of each request, in the order of `rows`, the number of rows of each; views, not copies.

    lengths: with padding, how long each request was. Raises Broken where the model does not give a row of output for each row.
    """
    total = sum(rows)
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != total:
            given = "a single value" if array.ndim == 0 else f"{len(array)} rows"
            raise Broken(f"the model's output '{name}' has {given} for {total} rows of input; it needs one for each")
    cut = padding.outputs if padding is not None and lengths is not None else {}
    if len(rows) == 1 and not cut:
        return [outputs]
    edges = [0]
    for num in rows:
        edges.append(edges[-1] + num)
    parts = [{name: array[start:stop] for name, array in outputs.items()} for start, stop in pairwise(edges)]
    for part, length in zip(parts, lengths or (), strict=False):
        for name, axis in cut.items():
            part[name] = part[name][(slice(None),) * axis + (slice(length),)]
    return parts


def _concatenated(arrays: list[Array]) -> Array:
    if len(arrays) == 1:
        return arrays[0]
    # Of one dtype or not at all: a silent promotion would hand the graph a type that it does not take.
    return np.concatenate(arrays, dtype=arrays[0].dtype, casting="no")


def _filled(arrays: list[Array], axis: int, length: int, fill: Fill | None) -> Array:
    """All rows below each other, the axis filled up to the length."""
    first = arrays[0]
    total = sum(len(array) for array in arrays)
    nothing: Fill = "" if first.dtype == object else 0
    filled: Array = np.full((total, *_filled_shape(first, axis, length)[1:]), nothing if fill is None else fill, first.dtype)
    start = 0
    for array in arrays:
        place = (slice(start, start + len(array)), *(slice(None),) * (axis - 1), slice(array.shape[axis]))
        filled[place] = array
        start += len(array)
    return filled


def _filled_shape(array: Array, axis: int | None, length: int) -> tuple[int, ...]:
    return array.shape if axis is None else (*array.shape[:axis], length, *array.shape[axis + 1 :])

"""Inputs for a graph of which nothing is known but its signature: seeded, small, and of several kinds, as not every graph takes
every number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from modeltap.domain.signature import NUMPY_DTYPE, Array, Batch, Datatype
from modeltap.engines.onnx import GraphTensor

SEED = 0
EXTENTS = (4, 16, 64, 224, 1)
"""Tried for an axis of no fixed length: convolutions need some, sums of two inputs the same."""
HIGHEST = (10, 2, 1)
"""Whole numbers are below one of these: an index into a table, an axis or a padding must be small."""


class GraphInput(NamedTuple):
    """An input as it is generated: its datatype, and for each axis a length, a name, or None."""

    name: str
    datatype: Datatype
    axes: tuple[int | str | None, ...]


def generated_inputs(inputs: Sequence[GraphInput], *, num_rows: int | None) -> Iterator[Batch]:
    """Inputs to try one after the other. `num_rows` is the length of every first axis, where that is the sample."""
    has_free_axes = any(not isinstance(axis, int) for one in inputs for axis in one.axes[int(num_rows is not None) :])
    has_whole_numbers = any(one.datatype != "BOOL" and not one.datatype.startswith("FP") for one in inputs)
    for highest in HIGHEST if has_whole_numbers else HIGHEST[:1]:
        for extent in EXTENTS if has_free_axes else EXTENTS[:1]:
            chance = np.random.default_rng(SEED)
            yield {one.name: _values(one.datatype, _shape(one, num_rows, extent), highest, chance) for one in inputs}


def _shape(one: GraphInput, num_rows: int | None, extent: int) -> tuple[int, ...]:
    lengths = [axis if isinstance(axis, int) else extent for axis in one.axes]
    if num_rows is not None:
        row = one.axes[0]
        lengths = [num_rows if axis is not None and axis == row else n for axis, n in zip(one.axes, lengths, strict=True)]
        lengths[0] = num_rows
    return tuple(lengths)


def _values(datatype: Datatype, shape: tuple[int, ...], highest: int, chance: np.random.Generator) -> Array:
    dtype = NUMPY_DTYPE[datatype]
    if dtype.kind == "f":
        return np.asarray(chance.standard_normal(shape)).astype(dtype)
    if datatype == "BOOL":
        return np.asarray(chance.integers(0, 2, shape)).astype(np.bool_)
    whole = np.asarray(chance.integers(0, highest, shape))
    if datatype != "BYTES":
        return whole.astype(dtype)
    texts = np.empty(shape, dtype=object)
    texts[...] = np.array([str(number) for number in whole.reshape(-1).tolist()], dtype=object).reshape(shape)
    return texts


def first_axes_are_free(tensors: Sequence[GraphTensor]) -> bool:
    """Whether every one of them has a first axis without a fixed length."""
    return bool(tensors) and all(one.axes and not isinstance(one.axes[0], int) for one in tensors)

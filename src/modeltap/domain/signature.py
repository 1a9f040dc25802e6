"""Names, datatypes and shapes of a model's inputs and outputs, in the Open Inference Protocol's words."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]

NUMPY_DTYPE: dict[Datatype, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}

ONNX_OPSET = 20
ONNX_ML_OPSET = 3
ONNX_IR_VERSION = 9
"""One set for every graph we emit, so that preprocessing, network and trees can be joined."""

Array = NDArray[np.generic]
Batch = dict[str, Array]
"""Tensor name → array; the first axis of every array is the sample. Strings are object arrays of str."""


class TensorSpec(msgspec.Struct, frozen=True):
    """One input or output; -1 stands for a variable extent, and the first axis is always the sample."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Signature(msgspec.Struct, frozen=True):
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def num_rows(batch: Batch) -> int:
    """The samples in the batch."""
    return len(next(iter(batch.values())))

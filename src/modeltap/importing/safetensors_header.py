"""The header of a safetensors file: which tensors it holds, checked against the size of the file; no library reads it first."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from modeltap.errors import InvalidData

MAX_HEADER_BYTES = 32 << 20
MAX_TENSORS = 100_000
MAX_AXES = 8
WIDTH_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_LENGTH = struct.Struct("<Q")


def count_parameters(path: Path) -> int:
    """How many numbers the file's tensors hold. Raises InvalidData for a file that is damaged, or of other than floats."""
    name, size_bytes = path.name, path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH.size)
        if len(start) < _LENGTH.size:
            raise InvalidData(f"'{name}' is no safetensors file: it has {size_bytes} bytes")
        (header_bytes,) = _LENGTH.unpack(start)
        if header_bytes > min(MAX_HEADER_BYTES, size_bytes - _LENGTH.size):
            raise InvalidData(f"'{name}' is no safetensors file, or is cut off")
        header = _parsed(file.read(header_bytes), name)
    data_bytes = size_bytes - _LENGTH.size - header_bytes
    return sum(_parameters(key, tensor, data_bytes, name) for key, tensor in header.items() if key != "__metadata__")


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    try:
        header = json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidData(f"'{name}' is no safetensors file: its header cannot be read") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise InvalidData(f"'{name}' is no safetensors file: its header names no tensors, or too many")
    return header


def _parameters(key: str, tensor: Any, data_bytes: int, name: str) -> int:
    try:
        dtype, shape, (begin, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        is_whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and len(shape) <= MAX_AXES
    except (TypeError, KeyError, ValueError):
        raise InvalidData(f"'{name}' is damaged: it does not say what '{key[:80]}' is") from None
    if not isinstance(dtype, str) or dtype not in WIDTH_BYTES:
        raise InvalidData(
            f"'{key[:80]}' is {str(dtype)[:20]}; weights are taken as {', '.join(sorted(WIDTH_BYTES))}: export the model before"
            " it was quantized, and compress it here"
        )
    count: int = math.prod(shape) if is_whole else 0
    if not is_whole or not begin <= end <= data_bytes or count * WIDTH_BYTES[dtype] != end - begin:
        raise InvalidData(f"'{name}' is damaged: '{key[:80]}' is not where it should be")
    return count

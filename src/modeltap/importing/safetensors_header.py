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
    header.pop("__metadata__", None)
    data_bytes = size_bytes - _LENGTH.size - header_bytes
    count = sum(_parameters(key, tensor, data_bytes, name) for key, tensor in header.items())
    _check_places(header, data_bytes, name)
    return count


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    try:
        header = json.loads(content, object_pairs_hook=_once)
    except KeyError as twice:
        raise InvalidData(f"'{name}' is damaged: its header names {str(twice)[:80]} twice") from None
    except (ValueError, RecursionError):
        raise InvalidData(f"'{name}' is no safetensors file: its header cannot be read") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise InvalidData(f"'{name}' is no safetensors file: its header names no tensors, or too many")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises KeyError for a name that stands twice: another reader would take the other one."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise KeyError(key)
        found[key] = value
    return found


def _check_places(header: dict[str, Any], data_bytes: int, name: str) -> None:
    """Raises InvalidData where two tensors share bytes, or some bytes belong to none."""
    reached = 0
    for begin, end in sorted(tensor["data_offsets"] for tensor in header.values()):
        if begin != reached:
            raise InvalidData(f"'{name}' is damaged: its tensors do not lie one after the other")
        reached = end
    if reached != data_bytes:
        raise InvalidData(f"'{name}' is damaged: its header speaks of {reached:,} bytes of data, there are {data_bytes:,}")


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

"""Tensors as bytes, in the Open Inference Protocol's binary form: little-endian, row-major, no padding; a BOOL is one byte, an
element of BYTES its length (u32) and then itself."""

from __future__ import annotations

import struct
import sys

import numpy as np

from modeltap.domain.signature import NUMPY_DTYPE, Array, Datatype
from modeltap.errors import InvalidValue

Buffer = bytes | bytearray | memoryview

WIRE_DTYPE: dict[Datatype, np.dtype] = {name: dtype.newbyteorder("<") for name, dtype in NUMPY_DTYPE.items()}
_LENGTH = struct.Struct("<I")
_IS_LITTLE = sys.byteorder == "little"


def numbers_from_bytes(data: Buffer, datatype: Datatype) -> Array:
    """The flat numbers in `data`, a view of it wherever that is possible. Raises InvalidValue for a part of a number."""
    dtype = WIRE_DTYPE[datatype]
    if len(data) % dtype.itemsize:
        raise InvalidValue(f"{len(data)} bytes are no whole number of {datatype} elements, each of {dtype.itemsize}")
    if datatype == "BOOL":
        flags: Array = np.frombuffer(data, dtype=np.uint8) != 0
        return flags
    values = np.frombuffer(data, dtype=dtype)
    if not values.flags.aligned:
        values = values.copy()
    return values if _IS_LITTLE else values.astype(NUMPY_DTYPE[datatype])


def elements_from_bytes(data: Buffer, count: int) -> list[bytes]:
    """The `count` elements of a BYTES tensor. Raises InvalidValue where the lengths in it do not add up."""
    view = memoryview(data)
    elements = []
    place = 0
    for number in range(count):
        start = place + _LENGTH.size
        if start > len(view):
            raise InvalidValue(f"its bytes end before element {number + 1} of {count}")
        place = start + _LENGTH.unpack_from(view, place)[0]
        if place > len(view):
            raise InvalidValue(f"element {number + 1} of {count} is longer than the bytes that are there")
        elements.append(bytes(view[start:place]))
    if place != len(view):
        raise InvalidValue(f"{len(view) - place} bytes are left behind its {count} elements")
    return elements


def decode_elements(elements: list[bytes]) -> list[str]:
    """The elements as text. Raises InvalidValue for bytes that are not UTF-8: the graph takes texts."""
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        wrong = next(number for number, element in enumerate(elements, start=1) if not _is_utf8(element))
        raise InvalidValue(f"element {wrong} is not UTF-8; a graph takes texts, send other bytes as base64") from None


def tensor_to_bytes(values: Array) -> bytes:
    """The tensor's bytes; texts are written as UTF-8."""
    if values.dtype.kind in "OU":
        parts: list[bytes] = []
        for text in values.reshape(-1).tolist():
            element = text if isinstance(text, bytes) else str(text).encode()
            parts += (_LENGTH.pack(len(element)), element)
        return b"".join(parts)
    return values.tobytes() if _IS_LITTLE else values.astype(values.dtype.newbyteorder("<")).tobytes()


def _is_utf8(element: bytes) -> bool:
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True

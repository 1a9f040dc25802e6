"""Arrays of numbers out of JSON without a Python object for each: cut out of the request's text, then parsed into a buffer.

    text, blocks = cut_arrays(body)      "data":[0.5,…] → "data":"<mark>0", with the array's own text as block 0
    read_block(blocks[0], "d", shape)    its numbers, flat

Both only ever say "I am not sure" (None); what they do say is exactly what the slow reader would have said.
"""

from __future__ import annotations

import math
import secrets
import threading
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from modeltap.domain.signature import Array

Element = Literal["d", "i", "u"]
"""What is wanted: 64-bit floats, signed or unsigned integers."""

MAX_BLOCKS = 64
"""Of one request; one with more is read the slow way."""
MAX_KEPT_BYTES = 1 << 18
"""Of a block whose parser, and of a skeleton that, is kept for the next request."""
_DTYPE: dict[Element, np.dtype] = {"d": np.dtype(np.float64), "i": np.dtype(np.int64), "u": np.dtype(np.uint64)}
_KEY = b'"data"'
_SPACE = b" \t\r\n"
_PARTS_OF_NUMBERS = b"0123456789+-.eE \t\r\n"
_MARK = secrets.token_hex(12).encode()
"""Nobody outside knows it, so that no request can hold it."""
_parsers = threading.local()


def mark(number: int) -> bytes:
    """What stands in the envelope where block `number` was, as JSON text."""
    return b'"%b%d"' % (_MARK, number)


def cut_arrays(text: bytes) -> tuple[bytes, list[bytes]] | None:
    """The text with a mark in the place of each value of a key "data" that looks like an array of numbers, and these arrays.

    A number holds no quote and no brace, so such an array ends at the last bracket before the next of them. Whether it is one
    is known only when `read_block` has parsed it; the caller must see every mark where a tensor's data belongs, in order.
    """
    pieces: list[bytes] = []
    blocks: list[bytes] = []
    done = 0
    place = text.find(_KEY)
    while place >= 0:
        place += len(_KEY)
        start = text.find(b"[", place)
        brace = text.find(b"}", start)
        if start < 0 or brace < 0:
            break
        if text[place:start].strip(_SPACE) == b":":
            quote = text.find(b'"', start, brace)
            end = quote if quote >= 0 else brace
            close = text.rfind(b"]", start, end) + 1
            if close and not text[close:end].strip(_SPACE + b","):
                if len(blocks) == MAX_BLOCKS:
                    return None
                pieces += (text[done:start], mark(len(blocks)))
                blocks.append(text[start:close])
                place = done = close
        place = text.find(_KEY, place)
    if not blocks:
        return None
    pieces.append(text[done:])
    return b"".join(pieces), blocks


def read_block(block: bytes, element: Element, shape: tuple[int, ...]) -> Array | None:
    """The flat numbers of an array that is flat, or nested exactly as `shape` says; None for everything else."""
    parser = _parser(len(block))
    try:
        buffer = parser.parse(block).as_buffer(of_type=element)
    except (ValueError, TypeError, RuntimeError):
        return None
    numbers: Array = np.frombuffer(buffer, _DTYPE[element])
    if block.find(b"[", 1) < 0 or _is_nested_as(block, shape, len(numbers)):
        return numbers
    return None


def _parser(num_bytes: int) -> Any:
    """This thread's own one for a small block; for a large one a new one, as a parser keeps the memory it once needed."""
    kept = getattr(_parsers, "kept", None) if num_bytes <= MAX_KEPT_BYTES else None
    return kept or _new_parser(num_bytes)


def _new_parser(num_bytes: int) -> Any:
    import simdjson

    parser = simdjson.Parser()
    if num_bytes <= MAX_KEPT_BYTES:
        _parsers.kept = parser
    return parser


def _is_nested_as(block: bytes, shape: tuple[int, ...], count: int) -> bool:
    if math.prod(shape) != count or not count:
        return False
    skeleton = block.translate(None, _PARTS_OF_NUMBERS)
    expected = _kept_skeleton(shape) if len(skeleton) <= MAX_KEPT_BYTES // 4 else _skeleton(shape)
    return skeleton == expected


def _skeleton(shape: tuple[int, ...]) -> bytes:
    """The brackets and commas of an array of that shape; (2, 3) gives [[,,],[,,]]."""
    text = b""
    for extent in reversed(shape):
        text = b"[" + b",".join([text] * extent) + b"]"
    return text


_kept_skeleton = lru_cache(maxsize=64)(_skeleton)

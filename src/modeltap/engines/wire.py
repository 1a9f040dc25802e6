"""What the server and an engine process say to each other: frames of a head in MessagePack and the bytes of the tensors.

    frame = length of the head (u64), length of the tensors (u64), head padded to 16 bytes, each tensor padded to 16 bytes

Numbers are as they lie in memory here: both ends are one machine. A tensor of strings is the length of each in bytes (u32),
then their UTF-8. Nothing is unpickled, and every length is checked before it is used: the child runs graphs of others.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import msgspec
import numpy as np

from modeltap.domain.signature import NUMPY_DTYPE, Array, Batch, Datatype

PREFIX = struct.Struct("<QQ")
ALIGN = 16
MAX_HEAD_BYTES = 16 << 20
MAX_TENSOR_BYTES = 4 << 30
SCRATCH_BYTES = 64 << 10
_DATATYPE: dict[np.dtype, Datatype] = {dtype: name for name, dtype in NUMPY_DTYPE.items()}

Buffer = bytes | memoryview


class TensorHead(msgspec.Struct, frozen=True, array_like=True):
    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    num_bytes: int


class Open(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the child: load the bundle in these files."""

    files: dict[str, str]


class Run(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the child: answer these tensors."""

    tensors: list[TensorHead]


class Loaded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the child: the graph is there; its golden rows are next."""


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the child: it may run."""


class Answered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the child: the outputs, and how long the engine worked."""

    tensors: list[TensorHead]
    run_s: float


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the child: a named error, instead of Ready or Answered."""

    code: str
    message: str
    run_s: float = 0.0


ToChild = Open | Run
FromChild = Loaded | Ready | Answered | Failed


class WireBroken(ValueError):
    """The other end said what cannot be: it is not to be spoken to again."""


def pack_tensors(batch: Batch) -> tuple[list[TensorHead], list[Buffer]]:
    """Heads and bytes of the tensors, numbers without a copy. Raises ValueError for what cannot be sent."""
    heads: list[TensorHead] = []
    parts: list[Buffer] = []
    for name, values in batch.items():
        data: Buffer
        datatype = _DATATYPE.get(values.dtype)
        if datatype == "BYTES" or values.dtype.kind == "U":
            datatype, data = "BYTES", _pack_texts(values)
        elif datatype is None:
            raise ValueError(f"tensor '{name}' has the type {values.dtype}")
        elif values.size:
            data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        else:
            data = b""
        heads.append(TensorHead(name, datatype, values.shape, len(data)))
        parts.append(data)
        if fill := -len(data) % ALIGN:
            parts.append(bytes(fill))
    return heads, parts


def unpack_tensors(heads: Sequence[TensorHead], data: memoryview) -> Batch:
    """The tensors, as views of `data`. Raises WireBroken where heads and bytes do not fit."""
    batch: Batch = {}
    start = 0
    for head in heads:
        end = start + head.num_bytes
        if head.num_bytes < 0 or end > len(data) or any(extent < 0 for extent in head.shape):
            raise WireBroken(f"tensor '{head.name}' is longer than its frame")
        count = math.prod(head.shape)
        if head.datatype == "BYTES":
            values = _unpack_texts(data[start:end], count)
        else:
            dtype = NUMPY_DTYPE[head.datatype]
            if count * dtype.itemsize != head.num_bytes:
                raise WireBroken(f"tensor '{head.name}' has {head.num_bytes} bytes for {count} numbers of {head.datatype}")
            values = np.frombuffer(data, dtype=dtype, count=count, offset=start) if count else np.empty(0, dtype=dtype)
        batch[head.name] = values.reshape(head.shape)
        start = _padded(end)
    return batch


def pack_frame(head: ToChild | FromChild, parts: Sequence[Buffer] = ()) -> list[Buffer]:
    """The bytes of one frame, in the order they are sent."""
    text = msgspec.msgpack.encode(head)
    fill = bytes(-len(text) % ALIGN)
    return [PREFIX.pack(len(text), sum(map(len, parts))), text + fill, *parts]


class FrameReader:
    """Frames out of received bytes. Fill `buffer()`, then say with `received` how much came.

    Small frames pass through one buffer that is used again; a large one is received where it will stay.
    """

    def __init__(self) -> None:
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._filled = 0
        self._body = memoryview(b"")
        self._missing = 0
        self._head_bytes = 0

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        return self._body[len(self._body) - self._missing :] if self._missing else self._scratch[self._filled :]

    def received(self, num_bytes: int) -> list[tuple[memoryview, memoryview]]:
        """The head and the tensors' bytes of every frame that is whole now. Raises WireBroken for lengths that cannot be."""
        if self._missing:
            self._missing -= num_bytes
            return [] if self._missing else [self._whole()]
        self._filled += num_bytes
        frames: list[tuple[memoryview, memoryview]] = []
        start = 0
        while not self._missing and self._filled - start >= PREFIX.size:
            start = self._begin(start)
            if not self._missing:
                frames.append(self._whole())
        rest = self._filled - start
        if start and rest:
            self._scratch[:rest] = bytes(self._scratch[start : self._filled])
        self._filled = rest
        return frames

    def _begin(self, start: int) -> int:
        """Takes what is there of the frame at `start`; where the next one begins."""
        head_bytes: int
        tensor_bytes: int
        head_bytes, tensor_bytes = PREFIX.unpack_from(self._scratch, start)
        if head_bytes > MAX_HEAD_BYTES or tensor_bytes > MAX_TENSOR_BYTES:
            raise WireBroken(f"a frame of {head_bytes:,} and {tensor_bytes:,} bytes")
        start += PREFIX.size
        size = _padded(head_bytes) + tensor_bytes
        there = min(size, self._filled - start)
        self._body = np.empty(size, dtype=np.uint8).data
        self._body[:there] = self._scratch[start : start + there]
        self._head_bytes, self._missing = head_bytes, size - there
        return start + there

    def _whole(self) -> tuple[memoryview, memoryview]:
        body, self._body = self._body, memoryview(b"")
        return body[: self._head_bytes], body[_padded(self._head_bytes) :]


def _padded(num_bytes: int) -> int:
    return num_bytes + -num_bytes % ALIGN


def _pack_texts(values: Array) -> bytes:
    encoded = [str(text).encode() for text in values.reshape(-1).tolist()]
    return np.array([len(text) for text in encoded], dtype=np.uint32).tobytes() + b"".join(encoded)


def _unpack_texts(data: memoryview, count: int) -> Array:
    if count * 4 > len(data):
        raise WireBroken("a tensor of strings is longer than its frame")
    lengths = np.frombuffer(data, dtype=np.uint32, count=count).tolist() if count else []
    if sum(lengths) != len(data) - 4 * count:
        raise WireBroken("the lengths of a tensor of strings do not add up to its bytes")
    texts = np.empty(count, dtype=object)
    end = 4 * count
    for place, length in enumerate(lengths):
        start, end = end, end + length
        texts[place] = str(data[start:end], "utf-8")
    return texts

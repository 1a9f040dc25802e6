"""The frames of a usage segment: u32 length, u32 CRC-32 of the payload (little-endian), payload in MessagePack.

Each request has a number in its writer: 1, 2, 3, … Its frames are Reserve, then Settle or Void, and later Delivered; of one
that had ended before its Reserve was written, Answered in the place of both.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import msgspec

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.usage import Unit, UsageRecord

FORMAT = 1
PREFIX_BYTES = 8
MAX_PAYLOAD_BYTES = 64 << 20
"""A length beyond it is no length but damage."""


class Head(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The first frame of every segment."""

    format: int
    writer: str
    index: int


class Reserve(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """The request was accepted, and may use this much."""

    number: int
    request_id: str
    tenant: str
    key: str
    deployment: str
    unit: Unit
    units: int
    cost_nano: int
    accepted_at_s: float


class Settle(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """How the request ended; with the answer, if its retry shall get the same."""

    record: UsageRecord
    answer: StoredAnswer | None = None


class Void(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """These requests had no answer and no charge, whatever a frame before says of them."""

    numbers: list[int]


class Delivered(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """Every byte of these answers was handed to the system."""

    numbers: list[int]


class Close(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The last frame of a writer that ended in order; `last_number` is how many requests it accepted."""

    last_number: int


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """The request was accepted and ended; it has no other frame before."""

    record: UsageRecord
    answer: StoredAnswer | None = None


Frame = Head | Reserve | Settle | Void | Delivered | Close | Answered

_pack = struct.Struct("<II").pack
_unpack_from = struct.Struct("<II").unpack_from
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode
_crc32 = zlib.crc32


def encode_frame(frame: Frame) -> bytes:
    payload = _encode(frame)
    return _pack(len(payload), _crc32(payload)) + payload


def whole_bytes(data: bytes) -> int:
    """Where the last frame ends that is there in its full length; behind it one is being written. What is no frame at all is
    kept with the rest: it tells of damage."""
    at, end = 0, len(data)
    while at + PREFIX_BYTES < end:
        length, _ = _unpack_from(data, at)
        if not 0 < length <= MAX_PAYLOAD_BYTES:
            return end
        if at + PREFIX_BYTES + length > end:
            break
        at += PREFIX_BYTES + length
    return at


def parse_frames(data: bytes) -> tuple[list[Frame], int]:
    """The whole frames from the start of the data, and how many bytes they take. What follows them is torn, or damaged."""
    frames: list[Frame] = []
    return frames, each_frame(data, frames.append)


def each_frame(data: bytes, take: Callable[[Frame], object]) -> int:
    """The same, each given to `take` and kept by nobody here; how many bytes they take."""
    at, end = 0, len(data)
    unpack_from, crc32, decode = _unpack_from, _crc32, _decode
    while (begin := at + PREFIX_BYTES) < end:
        length, checksum = unpack_from(data, at)
        after = begin + length
        if not 0 < length <= MAX_PAYLOAD_BYTES or after > end:
            break
        payload = data[begin:after]
        if crc32(payload) != checksum:
            break
        try:
            frame = decode(payload)
        except msgspec.MsgspecError:
            break
        take(frame)
        at = after
    return at

"""Frames between the server and an engine process: whole in whatever pieces they arrive, and refused where they cannot be."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from modeltap.domain.signature import Batch
from modeltap.engines.wire import (
    MAX_HEAD_BYTES,
    MAX_TENSOR_BYTES,
    PREFIX,
    SCRATCH_BYTES,
    FrameReader,
    Run,
    TensorHead,
    WireBroken,
    pack_frame,
    pack_tensors,
    unpack_tensors,
)

NUMBERS = st.one_of(
    st_numpy.boolean_dtypes(),
    st_numpy.integer_dtypes(endianness="="),
    st_numpy.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
)
SHAPES = st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
TENSORS: st.SearchStrategy[Any] = st.one_of(
    st_numpy.arrays(NUMBERS, SHAPES),
    st_numpy.arrays(np.dtype(object), SHAPES, elements=st.text(max_size=9).filter(lambda text: text.isprintable())),
)
BATCHES = st.dictionaries(st.text(min_size=1, max_size=5), TENSORS, max_size=4)


def framed(batch: Batch) -> bytes:
    heads, parts = pack_tensors(batch)
    return b"".join(pack_frame(Run(heads), parts))


def received(sent: bytes, sizes: list[int]) -> list[Batch]:
    """What a reader makes of the bytes if they arrive in pieces of these sizes, over and over."""
    reader, batches, start, turn = FrameReader(), [], 0, 0
    while start < len(sent):
        buffer = reader.buffer()
        piece = sent[start : start + min(len(buffer), sizes[turn % len(sizes)])]
        buffer[: len(piece)] = piece
        for head, data in reader.received(len(piece)):
            batches.append(unpack_tensors(msgspec.msgpack.decode(head, type=Run).tensors, data))
        start, turn = start + len(piece), turn + 1
    return batches


def same(first: Batch, second: Batch) -> bool:
    return list(first) == list(second) and all(
        a.dtype == b.dtype
        and a.shape == b.shape
        and (a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes())
        for a, b in zip(first.values(), second.values(), strict=True)
    )


@given(st.lists(BATCHES, min_size=1, max_size=3), st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_batches_arrive_as_they_were_sent_in_whatever_pieces(batches: list[Batch], sizes: list[int]) -> None:
    got = received(b"".join(map(framed, batches)), sizes)
    assert len(got) == len(batches) and all(map(same, batches, got))


def test_a_frame_beyond_the_scratch_buffer_is_followed_by_others() -> None:
    large = {"x": np.arange(SCRATCH_BYTES, dtype=np.float64), "t": np.array(["ä" * SCRATCH_BYTES], dtype=object)}
    small = {"y": np.array([[1, 2]], dtype=np.int32)}
    sent = framed(small) + framed(large) + framed(small)
    for size in (7, 1000, SCRATCH_BYTES - 1, len(sent)):
        got = received(sent, [size])
        assert [same(a, b) for a, b in zip((small, large, small), got, strict=True)] == [True] * 3


def test_numbers_lie_where_a_vector_unit_can_read_them() -> None:
    batch = {"a": np.array([1], dtype=np.uint8), "b": np.arange(3.0), "c": np.array(["x"], dtype=object), "d": np.arange(2.0)}
    (got,) = received(framed(batch), [1 << 20])
    assert all(got[name].ctypes.data % 16 == 0 for name in ("a", "b", "d"))


def test_what_cannot_be_sent_is_a_value_error() -> None:
    for values in (np.array([1j]), np.array(["2020-01-01"], dtype="datetime64[D]"), np.array(["\ud800"], dtype=object)):
        with pytest.raises(ValueError):
            pack_tensors({"x": values})


@given(st.binary(min_size=PREFIX.size, max_size=200))
def test_nonsense_is_refused_before_memory_is_taken_for_it(nonsense: bytes) -> None:
    try:
        received(nonsense, [64])
    except (WireBroken, msgspec.MsgspecError):
        return
    head_bytes, tensor_bytes = PREFIX.unpack_from(nonsense)
    assert head_bytes <= MAX_HEAD_BYTES and tensor_bytes <= MAX_TENSOR_BYTES


@pytest.mark.parametrize(
    ("head", "num_bytes"),
    [
        (TensorHead("x", "FP32", (2, 2), 12), 16),
        (TensorHead("x", "FP32", (-1, 2), 8), 16),
        (TensorHead("x", "FP32", (4,), 16), 8),
        (TensorHead("x", "FP32", (4,), -16), 16),
        (TensorHead("x", "BYTES", (9,), 16), 16),
        (TensorHead("x", "BYTES", (1,), 4), 16),
    ],
)
def test_heads_that_do_not_fit_their_bytes_are_refused(head: TensorHead, num_bytes: int) -> None:
    with pytest.raises(WireBroken):
        unpack_tensors([head], memoryview(b"\x09\0\0\0" * (num_bytes // 4)))

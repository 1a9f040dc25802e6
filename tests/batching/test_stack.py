"""What is stacked comes back to its request as it went in, for every dtype, with and without filling up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.batching.stack import Padding, bucket_of, length_of, padded_length, split, stack
from modeltap.errors import Broken, InvalidValue

DTYPES = ["float32", "float64", "int64", "uint8", "bool", "float16", object]
TEXT = Padding(inputs={"tokens": 1, "mask": 1}, outputs={"scores": 1}, fill={"tokens": -1})


def values(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    if dtype is object:
        filled = np.empty(shape, dtype=object)
        filled.ravel()[:] = [f"ü{number}" for number in rng.integers(0, 99, filled.size)]
        return filled
    return rng.integers(0, 2 if dtype == "bool" else 99, shape).astype(dtype)


@given(
    rows=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3),
    tail=st.sampled_from([(), (3,), (2, 2)]),
)
def test_what_went_in_comes_out(rows, dtypes, tail):
    requests = [
        {f"x{place}": values((num, *tail), dtype, seed) for place, dtype in enumerate(dtypes)} for seed, num in enumerate(rows)
    ]
    together = stack(requests)
    assert all(len(array) == sum(rows) for array in together.values())
    parts = split(together, rows)
    assert len(parts) == len(requests)
    for request, part in zip(requests, parts, strict=True):
        assert list(part) == list(request)
        for name, array in request.items():
            assert part[name].dtype == array.dtype
            np.testing.assert_array_equal(part[name], array)


def test_one_request_alone_is_not_copied():
    request = {"x": values((4, 3), "float32", 0)}
    assert stack([request]) is request
    assert split(request, [4]) == [request]


def test_parts_are_views_of_the_one_output():
    outputs = {"y": values((5, 3), "float32", 0)}
    assert all(np.shares_memory(part["y"], outputs["y"]) for part in split(outputs, [2, 3]))


def test_dtypes_are_never_promoted_in_silence():
    with pytest.raises(TypeError):
        stack([{"x": np.zeros(2, "float32")}, {"x": np.zeros(2, "float64")}])


@pytest.mark.parametrize(
    ("output", "told"), [(np.zeros((3, 2)), "3 rows for 5"), (np.float32(1).reshape(()), "a single value")]
)
def test_a_model_that_does_not_answer_row_by_row_is_named(output, told):
    with pytest.raises(Broken, match=f"'y' has {told}"):
        split({"y": output}, [2, 3])


def test_a_bucket_is_the_shapes_of_the_rows():
    small = {"x": np.zeros((2, 3)), "label": np.zeros(2)}
    assert bucket_of(small) == bucket_of({"x": np.ones((9, 3)), "label": np.zeros(9)})
    assert bucket_of(small) != bucket_of({"x": np.ones((2, 4)), "label": np.zeros(2)})
    assert bucket_of({"label": np.zeros(2)}) == bucket_of({"label": np.zeros(7)})
    assert len({bucket_of(small), bucket_of(small)}) == 1


def test_padded_lengths_are_few_and_close():
    assert [padded_length(length) for length in range(14)] == [1, 1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16]
    for length in range(1, 5000):
        padded = padded_length(length)
        assert length <= padded < 1.5 * length + 1
        assert padded_length(padded) == padded
    assert len({padded_length(length) for length in range(1, 5000)}) < 30


def text(rows, length, seed=0):
    return {
        "tokens": values((rows, length), "int64", seed),
        "mask": np.ones((rows, length), dtype=bool),
        "lang": values((rows,), object, seed),
    }


@given(shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(9, 12)), min_size=1, max_size=5))
def test_padding_fills_up_and_is_cut_off_again(shapes):
    requests = [text(rows, length, seed) for seed, (rows, length) in enumerate(shapes)]
    assert len({bucket_of(request, TEXT) for request in requests}) == 1
    together = stack(requests, TEXT)
    assert together["tokens"].shape == together["mask"].shape == (sum(rows for rows, _ in shapes), 12)
    np.testing.assert_array_equal(together["tokens"] == -1, ~together["mask"])
    outputs = {"scores": together["tokens"] * 2, "sum": (together["tokens"] * together["mask"]).sum(axis=1)}
    lengths = [length_of(request, TEXT) for request in requests]
    for request, part in zip(requests, split(outputs, [r for r, _ in shapes], TEXT, lengths=lengths), strict=True):
        np.testing.assert_array_equal(part["scores"], request["tokens"] * 2)
        np.testing.assert_array_equal(part["sum"], request["tokens"].sum(axis=1))


def test_strings_are_filled_with_empty_ones():
    padding = Padding(inputs={"words": 1})
    together = stack([{"words": values((1, 3), object, 0)}, {"words": values((2, 4), object, 1)}], padding)
    assert together["words"].shape == (3, 4)
    assert together["words"][0, 3] == ""


def test_a_request_at_its_full_length_is_not_copied():
    request = text(2, 12)
    together = stack([request], TEXT)
    assert all(together[name] is request[name] for name in request)


def test_an_empty_axis_can_be_filled():
    together = stack([text(1, 0), text(1, 1)], TEXT)
    assert together["tokens"].tolist()[0] == [-1]


def test_inputs_that_disagree_in_length_are_named():
    with pytest.raises(InvalidValue, match="'tokens' 3, 'mask' 4"):
        bucket_of({"tokens": np.zeros((1, 3)), "mask": np.zeros((1, 4))}, TEXT)

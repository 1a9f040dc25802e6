"""Arrays of numbers that are read fast are exactly what the slow reader makes of them, whatever stands in the JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modeltap.api.inference_request import parse_request
from modeltap.api.json_numbers import cut_arrays, read_block
from modeltap.api.tensors import ColumnTensors, GraphTensors
from modeltap.data.rows import RowReader
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.signature import NUMPY_DTYPE, Signature, TensorSpec
from modeltap.errors import InvalidInput, InvalidValue

NUMERIC = sorted(set(NUMPY_DTYPE) - {"BYTES", "FP16"})
EDGES = [
    *("-0", "-0.0", "0.0", "1e5", "1E+5", "1e400", "-1e400", "1e-400", "2.5", "1.0", "1e39", "3.5e38", "9007199254740993"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616"),
]
NUMBERS = st.one_of(
    st.integers(-300, 300).map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda number: format(number, ".9g")),
    st.sampled_from(EDGES),
)
STRANGERS = st.sampled_from(
    ["true", "false", "null", '"1"', '"a]b"', "[]", "{}", "NaN", "Infinity", "01", "1.", "+1", "", '{"data":[1]}']
)


def slow(body: bytes) -> bytes:
    """The same JSON, in which the fast reader does not know the key."""
    return body.replace(b'"data"', rb'"d\u0061ta"')


def outcome(reader: Any, body: bytes) -> Any:
    """Types, shapes and bits of what was read, or that it was refused: of a request with two mistakes one reader may find the
    one, and the other the other."""
    try:
        batch, rows = reader.read(parse_request(body).tensors)
    except (InvalidInput, InvalidValue):
        return "refused"
    told = {name: values.tolist() if values.dtype == object else values.tobytes() for name, values in batch.items()}
    return rows, told, {name: (values.dtype, values.shape) for name, values in batch.items()}


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...]) -> str:
    """The text of an array that is flat, nested as the shape says, or nearly so; rarely something else is in it."""
    elements = st.one_of(NUMBERS, NUMBERS, NUMBERS, NUMBERS, STRANGERS) if draw(st.integers(0, 4)) == 0 else NUMBERS
    space = draw(st.sampled_from(["", "", " ", "\n\t"]))
    size = max(0, int(np.prod(shape)) + draw(st.sampled_from([0, 0, 0, 0, 0, 1, -1])))
    parts = draw(st.lists(elements, min_size=size, max_size=size))
    for extent in reversed(shape[1:] if draw(st.booleans()) else ()):
        extent = max(1, extent + draw(st.sampled_from([0] * 9 + [1])))
        parts = [f"[{space}" + f",{space}".join(parts[at : at + extent]) + "]" for at in range(0, len(parts), extent)]
    return "[" + space + f"{space},".join(parts) + "]" + space


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, tuple[int, ...], bytes]:
    datatype = draw(st.sampled_from(NUMERIC))
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    fields = {"name": '"x"', "shape": json.dumps(shape), "datatype": f'"{datatype}"', "data": draw(arrays(shape))}
    if draw(st.integers(0, 9)) == 0:
        fields["parameters"] = '{"data":[1,2]}'
    order = draw(st.permutations(sorted(fields)))
    pairs = [f'"{name}":{fields[name]}' for name in order]
    if draw(st.integers(0, 9)) == 0:
        pairs.append(f'"data":{draw(arrays(shape))}')
    return datatype, shape, f'{{"id":"a","inputs":[{{{", ".join(pairs)}}}]}}'.encode()


@settings(max_examples=600)
@given(requests())
def test_a_graph_gets_the_same_numbers_or_the_same_refusal(asked):
    datatype, shape, body = asked
    reader = GraphTensors(Signature((TensorSpec("x", datatype, shape),), ()), is_batched=False)
    assert outcome(reader, body) == outcome(reader, slow(body))


@settings(max_examples=300)
@given(requests(), st.sampled_from(["number", "array", "image"]))
def test_a_column_gets_the_same_numbers_or_the_same_refusal(asked, kind):
    datatype, shape, body = asked
    column = Column(name="x", kind=kind, shape=shape[1:] if kind != "number" else (), datatype=datatype)
    reader = ColumnTensors(RowReader(Schema(form="arrays", columns=(column,), missing=("-99", "1"))))
    assert outcome(reader, body) == outcome(reader, slow(body))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@example([5e-324, 1.7976931348623157e308, 0.1, -0.0])
def test_doubles_are_read_to_the_bit(numbers):
    block = read_block(json.dumps(numbers).encode(), "d", (len(numbers),))
    assert block is not None and block.tobytes() == np.array(numbers).tobytes()


@pytest.mark.parametrize("shape", [(2, 3), (1, 1, 4), (3, 1), (2, 2, 2)])
def test_numbers_may_be_nested_as_their_shape_says_and_in_no_other_way(shape):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    block = read_block(json.dumps(values.tolist()).encode(), "d", shape)
    assert block is not None and block.tolist() == values.reshape(-1).tolist()
    assert read_block(json.dumps(values.tolist()).encode(), "d", (*shape[::-1], 1)) is None


def test_what_only_looks_like_a_tensors_numbers_is_left_where_it_is():
    name = '"data":[1,2]'
    body = json.dumps({"inputs": [{"name": name, "shape": [2], "datatype": "BYTES", "data": ["[1,2]", "]"]}]}).encode()
    reader = GraphTensors(Signature((TensorSpec(name, "BYTES", (2,)),), ()), is_batched=False)
    assert reader.read(parse_request(body).tensors)[0][name].tolist() == ["[1,2]", "]"]
    elsewhere = b'{"data":[1,2],"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[7],"parameters":{"data":[3]}}]}'
    reader = GraphTensors(Signature((TensorSpec("x", "INT8", (1,)),), ()), is_batched=False)
    assert reader.read(parse_request(elsewhere).tensors)[0]["x"].tolist() == [7]
    assert cut_arrays(b'{"data":["a","b"]}') is None
    assert cut_arrays(b'{"x":[1,2]}') is None


def test_several_tensors_are_kept_apart():
    inputs = [{"name": name, "shape": [2], "datatype": "INT32", "data": [at, at + 1]} for at, name in enumerate("abc")]
    reader = GraphTensors(Signature(tuple(TensorSpec(n, "INT32", (2,)) for n in "abc"), ()), is_batched=False)
    batch, _ = reader.read(parse_request(json.dumps({"inputs": inputs}).encode()).tensors)
    assert {name: values.tolist() for name, values in batch.items()} == {"a": [0, 1], "b": [1, 2], "c": [2, 3]}

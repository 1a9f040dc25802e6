"""A request that is filled into a plan is read as it would be in full, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modeltap.api.inference_plans import Plan, Plans
from modeltap.api.inference_request import parse_request
from modeltap.api.json_numbers import cut_arrays
from modeltap.api.tensors import GraphTensors
from modeltap.domain.signature import Batch, Signature, TensorSpec
from modeltap.errors import ModeltapError

BEFORE, AFTER = '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":', "}]}"
READER = GraphTensors(Signature((TensorSpec("x", "FP32", (-1, 2)),), ()), is_batched=True)
PIECES = st.lists(
    st.sampled_from(
        ["[", "]", ",", "1", "0.5", "-2e9", "1e99", " ", "null", '"', "{", "}", '"data":', ":", "[1,2]", "NaN", AFTER]
    )
)


def planned(text: str) -> Plan:
    """As the first request of that text leaves it."""
    plans, body = Plans(), text.encode()
    cut = cut_arrays(body)
    assert cut is not None
    plans.keep(cut[0], parse_request(body), 1, ())
    assert plans.newest is not None
    return plans.newest


def in_full(body: bytes) -> Any:
    try:
        return told(READER.read(parse_request(body).tensors)[0])
    except ModeltapError:
        return "refused"


def told(batch: Batch) -> Any:
    return {name: (values.dtype, values.shape, values.tobytes()) for name, values in batch.items()}


@given(PIECES.map("".join))
@example("[1,2]")
@example(" [1,2]")
@example("[[1,2]]")
@example('[1,2],"data":[3,4]')
@example('[1,2]}],"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[3,4]')
@example("")
def test_a_request_is_read_as_in_full_or_not_at_all(middle: str) -> None:
    body = f"{BEFORE}{middle}{AFTER}".encode()
    filled = planned(f"{BEFORE}[0.5,1]{AFTER}").from_text(body)
    assert filled is None or told(filled) == in_full(body)


@pytest.mark.parametrize("body", ["", BEFORE, AFTER, BEFORE[:-1] + AFTER, f"{BEFORE}[1,2]{AFTER} ", f" {BEFORE}[1,2]{AFTER}"])
def test_another_text_is_not_filled_in(body: str) -> None:
    assert planned(f"{BEFORE}[0.5,1]{AFTER}").from_text(body.encode()) is None


def test_the_same_text_with_other_numbers_is_filled_in() -> None:
    filled = planned(f"{BEFORE}[0.5,1]{AFTER}").from_text(f"{BEFORE}[ 7, -8.25 ]{AFTER}".encode())
    assert filled is not None
    assert filled["x"].tolist() == [[7.0, -8.25]]

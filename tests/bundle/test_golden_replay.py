"""Golden rows: what was recorded repeats to the bit here, nearly on another processor, and a changed graph is refused."""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from modeltap.bundle.environment import cpu_features, environment
from modeltap.bundle.golden import TOLERANCE, Golden, awkward_rows, record_golden, replay_golden, wire_rows
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.signature import Batch, Signature, TensorSpec
from modeltap.errors import GoldenMismatch, InvalidValue

X, C = Column(name="x", kind="number"), Column(name="c", kind="category")
SCHEMA = Schema(form="table", columns=(X, C, Column(name="y", kind="category", role="target")))
SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP64", (-1,)), TensorSpec("c", "BYTES", (-1,))),
    outputs=(TensorSpec("prediction", "FP32", (-1, 2)), TensorSpec("label", "BYTES", (-1,))),
)
ROWS = [{"x": 0.1, "c": "a"}, {"x": "2,5", "c": None}, {"x": None, "c": "b"}]
ROWS[1]["x"] = "2.5"


def model(batch: Batch, *, shift: float = 0.0, swap: bool = False) -> Batch:
    """Probabilities that hang on the number, missing is 0.5."""
    x = np.nan_to_num(np.asarray(batch["x"], dtype=np.float64), nan=0.5)
    first = (1 / (1 + np.exp(-x)) + shift).astype(np.float32)
    label = np.where((first > 0.5) != swap, "a", "b").astype(object)
    return {"prediction": np.stack([first, 1 - first], axis=1), "label": label}


def recorded(**elsewhere: str) -> Golden:
    golden = record_golden(SCHEMA, ROWS, model)
    golden = msgspec.json.decode(msgspec.json.encode(golden), type=Golden)  # as it lies in the bundle
    return msgspec.structs.replace(golden, environment={**golden.environment, **elsewhere})


def test_the_same_graph_repeats_its_answers():
    replay_golden(recorded(), SCHEMA, SIGNATURE, model)
    replay_golden(recorded(processor="another"), SCHEMA, SIGNATURE, model)


def test_one_bit_is_a_difference_here_and_the_row_is_named():
    def changed(batch: Batch) -> Batch:
        answers = model(batch)
        answers["prediction"][1, 0] = np.nextafter(answers["prediction"][1, 0], np.float32(2))
        return answers

    with pytest.raises(GoldenMismatch, match=r"'prediction' of golden row 2 .* \(the same processor"):
        replay_golden(recorded(), SCHEMA, SIGNATURE, changed)
    replay_golden(recorded(processor="another"), SCHEMA, SIGNATURE, changed)
    replay_golden(recorded(onnxruntime="0.1"), SCHEMA, SIGNATURE, changed)


def test_elsewhere_answers_may_differ_by_rounding_alone():
    elsewhere = recorded(processor="another")
    replay_golden(elsewhere, SCHEMA, SIGNATURE, lambda batch: model(batch, shift=TOLERANCE / 2))
    with pytest.raises(GoldenMismatch, match=r"golden row 1 .* \(another processor"):
        replay_golden(elsewhere, SCHEMA, SIGNATURE, lambda batch: model(batch, shift=10 * TOLERANCE))
    with pytest.raises(GoldenMismatch, match="'label' of golden row 1"):
        replay_golden(elsewhere, SCHEMA, SIGNATURE, lambda batch: model(batch, swap=True))


def test_another_number_of_classes_is_a_difference():
    def three(batch: Batch) -> Batch:
        answers = model(batch)
        return {**answers, "prediction": np.pad(answers["prediction"], ((0, 0), (0, 1)))}

    with pytest.raises(GoldenMismatch, match="shape"):
        replay_golden(recorded(), SCHEMA, SIGNATURE, three)


def test_an_answer_that_is_no_number_repeats_as_such():
    def broken(batch: Batch) -> Batch:
        answers = model(batch)
        answers["prediction"][2] = math.nan
        return answers

    golden = msgspec.json.decode(msgspec.json.encode(record_golden(SCHEMA, ROWS, broken)), type=Golden)
    replay_golden(golden, SCHEMA, SIGNATURE, broken)
    with pytest.raises(GoldenMismatch, match="golden row 3"):
        replay_golden(golden, SCHEMA, SIGNATURE, model)


def test_rows_that_the_schema_no_longer_reads_are_refused():
    other = Schema(form="table", columns=(X, Column(name="c", kind="number"), SCHEMA.columns[2]))
    with pytest.raises(InvalidValue, match="column 'c'"):
        replay_golden(recorded(), other, SIGNATURE, model)


def test_rows_are_kept_as_json_has_them():
    columns: dict[str, Any] = {
        "x": [np.float64(0.5), math.nan, Decimal("2.25"), 3],
        "c": ["a", None, "b", ""],
    }
    rows = wire_rows(SCHEMA, columns)
    assert rows == [{"x": 0.5, "c": "a"}, {"x": None, "c": None}, {"x": 2.25, "c": "b"}, {"x": 3, "c": ""}]
    days = Schema(form="table", columns=(Column(name="d", kind="datetime"),))
    assert wire_rows(days, {"d": [date(2020, 1, 2), datetime(2020, 1, 2, 3), None]}) == [
        {"d": "2020-01-02"},
        {"d": "2020-01-02T03:00:00"},
        {"d": None},
    ]
    pictures = Schema(form="images", columns=(Column(name="p", kind="image", shape=(2, 2), datatype="UINT8"),))
    (text,) = wire_rows(pictures, {"p": [np.zeros((2, 2), dtype=np.uint8)]})
    assert isinstance(text, str) and msgspec.json.encode(text)
    arrays = Schema(form="arrays", columns=(Column(name="v", kind="array", shape=(2,)),))
    assert wire_rows(arrays, {"v": np.array([[1.5, 2.0]], dtype=np.float32)}) == [[1.5, 2.0]]


def test_rows_of_missing_and_unseen_values_are_always_among_them():
    assert awkward_rows(SCHEMA)[0] == {"x": None, "c": None}
    unseen = awkward_rows(SCHEMA)[1]
    assert unseen["x"] is None and unseen["c"]
    arrays = Schema(form="arrays", columns=(Column(name="v", kind="array", shape=(2,)),))
    assert awkward_rows(arrays) == []


def test_where_answers_were_computed_is_told_by_processor_and_runtime():
    assert set(environment()) == {"processor", "onnxruntime"} and all(environment().values())
    assert environment() == environment() and isinstance(cpu_features(), tuple)

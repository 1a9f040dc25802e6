"""The smallest batch from which a row's answer is the same to the bit whatever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from modeltap.bundle.invariance import measure_min_batch
from modeltap.domain.signature import Batch, Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine

SAMPLE: Batch = {"x": np.linspace(0, 1, 11, dtype=np.float32)}


def kernel(below: int):
    """Rounds differently in batches of fewer rows than `below`."""

    def run(batch: Batch) -> Batch:
        values = np.asarray(batch["x"], dtype=np.float32)
        if len(values) < below:
            values = np.nextafter(values, np.float32(2))
        return {"y": values, "label": np.array([str(v) for v in values], dtype=object)}

    return run


@pytest.mark.parametrize(("below", "expected"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 0), (200, 0)])
def test_the_least_of_the_candidates_is_found(below, expected):
    assert measure_min_batch(kernel(below), SAMPLE) == expected


def test_odd_sizes_that_differ_leave_single_rows_alone():
    def run(batch: Batch) -> Batch:
        values = np.asarray(batch["x"], dtype=np.float32)
        return {"y": values if len(values) % 2 == 0 else np.nextafter(values, np.float32(2))}

    assert measure_min_batch(run, SAMPLE) == 0


def test_a_single_row_is_sample_enough():
    assert measure_min_batch(kernel(2), {"x": np.ones(1, dtype=np.float32)}) == 2


class Recording(OnnxEngine):
    """An engine whose graph is a function, that notes the sizes of the batches it runs."""

    def __init__(self, min_batch: int, most_rows: int | None = None) -> None:
        self.signature = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))
        self._inputs, self._outputs, self._min_batch = ["x"], ["y"], min_batch
        self.most_rows = most_rows
        self.sizes: list[int] = []

    def _run(self, batch: Batch) -> Batch:
        self.sizes.append(len(batch["x"]))
        return {"y": np.asarray(batch["x"]) * 2}


@pytest.mark.parametrize(
    ("min_batch", "most_rows", "sizes"),
    [(1, None, [3]), (4, None, [4]), (0, None, [1, 1, 1]), (2, None, [3]), (1, 2, [1, 2]), (2, 2, [2, 2]), (1, 3, [3])],
)
def test_an_engine_pads_runs_rows_one_by_one_or_in_pieces_and_gives_back_as_many_as_it_got(min_batch, most_rows, sizes):
    engine = Recording(min_batch, most_rows)
    assert engine.run({"x": np.array([1.0, 2.0, 3.0], dtype=np.float32)})["y"].tolist() == [2, 4, 6]
    assert engine.sizes == sizes

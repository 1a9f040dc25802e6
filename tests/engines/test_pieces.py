"""A graph that is slower with many rows is run in pieces, and its answers are the same to the bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from modeltap.domain.signature import Batch, Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine
from modeltap.engines.pieces import SIZES, best_rows, cut

ROW: Batch = {"x": np.zeros((3, 2), np.float32)}


def measured(per_row_s: Callable[[int], float]) -> tuple[int | None, list[int]]:
    """What is found of a graph that takes so long a row, and the sizes that were run."""
    now_s, sizes = 0.0, []

    def run(batch: Batch) -> Batch:
        nonlocal now_s
        size = len(batch["x"])
        sizes.append(size)
        now_s += size * per_row_s(size)
        return batch

    return best_rows(run, ROW, clock=lambda: now_s), sizes


@pytest.mark.parametrize(
    ("per_row_s", "found"),
    [
        (lambda _size: 1e-5, None),
        (lambda size: 1e-5 / size, None),
        (lambda size: 1e-5 if size <= 16 else 1.3e-5, 16),
        (lambda size: 1e-5 if size <= 16 else 1.05e-5, None),
        (lambda size: 1e-5 * (1 + abs(size - 16) / 16), 16),
    ],
)
def test_the_largest_size_is_found_that_costs_a_row_no_more(per_row_s: Callable[[int], float], found: int | None) -> None:
    best, sizes = measured(per_row_s)
    assert best == found
    assert set(sizes) == set(SIZES)


def test_a_slow_graph_is_not_measured_to_the_end() -> None:
    best, sizes = measured(lambda _size: 1e-3)
    assert best is None
    assert set(sizes) == {SIZES[0]}


@pytest.mark.parametrize(("num_rows", "most"), [(1, 8), (8, 8), (9, 8), (64, 16), (65, 16), (100, 7)])
def test_pieces_hold_every_row_once_and_none_is_too_long(num_rows: int, most: int) -> None:
    pieces = [range(num_rows)[piece] for piece in cut(num_rows, most)]
    assert [row for piece in pieces for row in piece] == list(range(num_rows))
    assert max(map(len, pieces)) <= most
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize("min_batch", [1, 4, 8])
def test_answers_are_the_same_in_pieces(min_batch: int) -> None:
    onnx = pytest.importorskip("onnx")
    weights = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"]), onnx.helper.make_node("Softmax", ["y"], ["p"], axis=1)]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [tensor("x", onnx.TensorProto.FLOAT, ["N", 12])],
        [tensor("p", onnx.TensorProto.FLOAT, ["N", 5])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    content = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    signature = Signature((TensorSpec("x", "FP32", (-1, 12)),), (TensorSpec("p", "FP32", (-1, 5)),))
    rows = {"x": np.random.default_rng(1).normal(size=(65, 12)).astype(np.float32)}
    whole, pieces = (OnnxEngine(content, signature, min_batch=min_batch) for _ in range(2))
    pieces.most_rows = 9
    for num_rows in (1, 9, 10, 33, 65):
        batch = {"x": rows["x"][:num_rows]}
        assert pieces.run(batch)["p"].tobytes() == b"".join(
            whole.run({"x": batch["x"][piece]})["p"].tobytes() for piece in cut(num_rows, 9)
        )
        assert pieces.run(batch)["p"].shape == (num_rows, 5)

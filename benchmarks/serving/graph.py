"""The reference CNN as one ONNX graph with fixed random weights, a picture for it, and the session that all answers are
compared with.

Float32 28×28×1 (NHWC) → conv 32 filters 3×3 → relu → max-pool 2 → flatten → dense 10 → softmax. Axes: N rows, H, W, C.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUT, OUTPUT = "x", "y_pred"
SHAPE = (28, 28, 1)
CLASSES = 10
OPSET, IR_VERSION = 17, 9
"""Old enough for every ONNX Runtime that a peer may bring."""

Floats = NDArray[np.float32]


def write_graph(path: Path) -> Path:
    """The file, written. The same bytes each time."""
    import onnx
    from onnx import helper, numpy_helper

    draw = np.random.default_rng(0)
    weights = {
        "conv.weight": draw.normal(0, 0.3, (32, 1, 3, 3)),
        "conv.bias": draw.normal(0, 0.1, 32),
        "dense.weight": draw.normal(0, 0.03, (13 * 13 * 32, CLASSES)),
        "dense.bias": draw.normal(0, 0.1, CLASSES),
    }
    nodes = [
        helper.make_node("Transpose", [INPUT], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "conv.weight", "conv.bias"], ["features"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("MaxPool", ["positive"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Transpose", ["pooled"], ["nhwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["nhwc"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "dense.weight", "dense.bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "reference-cnn",
        [helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["N", *SHAPE])],
        [helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def example_picture() -> Floats:
    """One row, (1, H, W, C), of values with three decimals, so that JSON and binary carry the same numbers."""
    values = np.random.default_rng(1).uniform(0, 1, (1, *SHAPE))
    return values.round(3).astype(np.float32)


def open_session(path: Path) -> Any:
    """ONNX Runtime as every server here runs it: one thread, no spinning."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answer(session: Any, rows_NHWC: Floats) -> Floats:
    """Probabilities, (N, CLASSES)."""
    prob_NC: Floats = session.run([OUTPUT], {INPUT: rows_NHWC})[0]
    return prob_NC

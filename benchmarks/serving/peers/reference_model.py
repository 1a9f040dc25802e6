"""The model as every peer runs it: ONNX Runtime on one thread, without spinning. Graph and port come from the environment."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime

GRAPH = os.environ["BENCH_GRAPH"]
PORT = int(os.environ["BENCH_PORT"])
MAX_BATCH = 32
SHAPE = (28, 28, 1)


class Model:
    """Rows, (N, 28, 28, 1) or anything of that size, to probabilities, (N, 10)."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])

    def __call__(self, rows) -> np.ndarray:
        rows_NHWC = np.asarray(rows, np.float32).reshape(-1, *SHAPE)
        return self._session.run(["y_pred"], {"x": rows_NHWC})[0]

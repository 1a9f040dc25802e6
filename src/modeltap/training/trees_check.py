"""Proof, on the training rows, that a graph of trees answers as the trees do.

Letters: N samples, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from modeltap.domain.features import FEATURES
from modeltap.errors import Broken
from modeltap.training.graphs import PREDICTION

CHECKED_ROWS = 20_000
TOLERANCE = 1e-6
"""Of probabilities, and relative of values: the graph's output is float32."""


def check_graph(graph: onnx.ModelProto, model: Any, features: NDArray[np.float32], *, num_classes: int) -> None:
    """Raises Broken if an answer for one of up to 20,000 evenly spaced rows differs, or its label."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = np.unique(np.linspace(0, len(features) - 1, CHECKED_ROWS, dtype=np.int64))
    asked = np.ascontiguousarray(features[rows], dtype=np.float32)
    given = session.run([PREDICTION], {FEATURES: asked})[0]
    flat_NF = asked.reshape(len(asked), -1)
    if not num_classes:
        value_N = model.predict(flat_NF)
        right = np.abs(given - value_N) <= TOLERANCE * np.maximum(1.0, np.abs(value_N))
    else:
        prob_NC = np.zeros((len(asked), num_classes))
        prob_NC[:, model.classes_] = model.predict_proba(flat_NF)
        second_N, first_N = np.sort(prob_NC, axis=1)[:, -2:].T
        tied_N = first_N - second_N <= TOLERANCE
        same_label_N = given.argmax(1) == prob_NC.argmax(1)
        right = (np.abs(given - prob_NC) <= TOLERANCE).all(1) & (same_label_N | tied_N)
    if not right.all():
        raise Broken(f"the graph of trees answers differently for {int((~right).sum())} of {len(asked)} rows")

"""What a candidate's graph answers on rows: the search judges the graph that would be served, not the model behind it.

Letters: N samples, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from modeltap.domain.features import CODES, FEATURES, FeatureBatch
from modeltap.training.graphs import PREDICTION

ROWS_AT_ONCE = 16_384


def graph_answers(graph: onnx.ModelProto, rows: FeatureBatch, *, threads: int) -> NDArray[np.float32]:
    """(N, C) probabilities or (N,) numbers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = [entry.name for entry in session.get_inputs()]
    held: dict[str, NDArray[Any] | None] = {FEATURES: rows.features, CODES: rows.codes}
    pieces = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        given = {name: np.ascontiguousarray(held[name][start : start + ROWS_AT_ONCE]) for name in wanted}  # type: ignore[index]
        pieces.append(session.run([PREDICTION], given)[0])
    answers: NDArray[np.float32] = np.concatenate(pieces)
    return answers

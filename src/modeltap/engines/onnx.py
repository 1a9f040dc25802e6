"""ONNX Runtime as an Engine: tensors in, tensors out, on one thread."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modeltap.domain.signature import Batch, Signature
from modeltap.engines.pieces import cut
from modeltap.errors import Broken, InvalidValue

_log = logging.getLogger(__name__)


class OnnxEngine:
    """Runs one graph. Batches under `min_batch` are padded with copies of their last row, and with `min_batch` 0 rows are
    run one at a time, because some kernels round differently there: an answer never depends on the rows beside it."""

    def __init__(self, graph: Path | bytes, signature: Signature, *, min_batch: int = 1, threads: int = 1) -> None:
        self._session = _open_session(graph, threads)
        self.signature = signature
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = [spec.name for spec in signature.outputs]
        self._min_batch = min_batch
        self.most_rows: int | None = None
        """It runs more of them in pieces; None is any number at once."""

    def run(self, batch: Batch) -> Batch:
        most_rows = self.most_rows
        if most_rows is None or (num_rows := len(next(iter(batch.values())))) <= most_rows:
            return self._run_at_once(batch)
        pieces = [self._run_at_once({name: rows[piece] for name, rows in batch.items()}) for piece in cut(num_rows, most_rows)]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in self._outputs}

    def _run_at_once(self, batch: Batch) -> Batch:
        if self._min_batch == 1:
            return self._run(batch)  # as it is: the inputs of an imported graph need have no axis of rows
        num_rows = len(next(iter(batch.values())))
        if self._min_batch == 0 and num_rows > 1:
            singles = [self._run({name: rows[i : i + 1] for name, rows in batch.items()}) for i in range(num_rows)]
            return {name: np.concatenate([single[name] for single in singles]) for name in self._outputs}
        if num_rows < self._min_batch:
            fill = self._min_batch - num_rows
            padded = {name: np.concatenate([rows, np.repeat(rows[-1:], fill, axis=0)]) for name, rows in batch.items()}
            return {name: rows[:num_rows] for name, rows in self._run(padded).items()}
        return self._run(batch)

    def _run(self, batch: Batch) -> Batch:
        try:
            given = {name: batch[name] for name in self._inputs}
        except KeyError as problem:
            raise InvalidValue(f"the input {problem} is missing") from None
        try:
            answers = self._session.run(self._outputs, given)
        except Exception as problem:  # noqa: BLE001  as in _open_session; its text speaks of nodes and is for the log alone
            _log.error("the graph failed: %s", _reason(problem))
            raise Broken("the graph failed on these values; the server's log has the reason") from None
        return dict(zip(self._outputs, answers, strict=True))

    def close(self) -> None:
        del self._session


class GraphTensor(NamedTuple):
    """One input or output as ONNX Runtime tells it: `tensor(float)`, and for each axis a length, a name, or None."""

    name: str
    kind: str
    axes: tuple[int | str | None, ...]


def read_graph_tensors(graph: Path | bytes) -> tuple[list[GraphTensor], list[GraphTensor]]:
    """The inputs and the outputs of a graph, in its own order. Raises Broken for one that cannot be loaded."""
    session = _open_session(graph, 1)
    return [_told(one) for one in session.get_inputs()], [_told(one) for one in session.get_outputs()]


def _told(node: Any) -> GraphTensor:
    return GraphTensor(node.name, node.type, tuple(node.shape or ()))


def _open_session(graph: Path | bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
        )
    except Exception as problem:  # noqa: BLE001  onnxruntime raises its own unrelated classes for a graph it cannot read
        told = _reason(problem).replace(str(graph), "the file") if isinstance(graph, Path) else _reason(problem)
        raise Broken(f"ONNX Runtime cannot load the graph: {told}") from None


def runtime_version() -> str:
    """The version of ONNX Runtime, part of what a golden replay must share to be equal to the bit."""
    import onnxruntime

    return str(onnxruntime.__version__)


def _reason(problem: Exception) -> str:
    return str(problem).splitlines()[0][:300] if str(problem) else type(problem).__name__

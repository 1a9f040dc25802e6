"""One loaded version: how a row is read and an answer shown, and the lane that its requests wait in."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from modeltap.bundle.files import Bundle
from modeltap.data.rows import RowReader
from modeltap.data.subwords import count_ids, id_rows
from modeltap.data.text_reading import TEXTS, read_fitted
from modeltap.domain.signature import Batch
from modeltap.errors import InvalidValue
from modeltap.serving.lane import Lane
from modeltap.serving.statistics import Statistics
from modeltap.tasks.catalogue import find_task

ObserveBatch = Callable[[str, int, float], None]


class Version:
    """What the protocols need of a version. `in_flight` counts the requests that hold it; it is not unloaded under them."""

    def __init__(self, model_id: str, digest: str, bundle: Bundle, lane: Lane, *, observe: ObserveBatch | None = None) -> None:
        """`observe` is told of every batch that ran: version, rows, seconds of the engine."""
        task = find_task(bundle.manifest.task)
        self.model_id = model_id
        self.digest = digest
        self.manifest = bundle.manifest
        self.signature = bundle.manifest.signature
        self.texts = read_fitted(bundle.files).open() if task.unit == "token" and TEXTS in bundle.files else None
        """How its texts become ids, where these are what is charged."""
        self.reader = RowReader(bundle.manifest.schema, read_on=None if self.texts is None else self._as_ids)
        self.takes_pictures = any(column.kind == "image" for column in self.reader.features)
        self.tensors: Any = None
        """How the Open Inference Protocol reads its tensors: kept here by whoever made it first."""
        self.plans: Any = None
        """What the same protocol knows of requests that came before; None before the first."""
        self.unit = task.unit
        self.lane = lane
        self.in_flight = 0
        self.last_used_s = 0.0
        self.statistics = Statistics()
        fixed = all(extent >= 0 for spec in self.signature.inputs for extent in spec.shape[1:])
        self.bucket: Hashable = () if fixed else None
        """Of all its requests, where they can all run together; None where that depends on their shapes."""
        self._observe = observe
        lane.on_run = self._ran
        self._decode = task.decode
        self._only_finite = task.only_finite

    @property
    def is_ready(self) -> bool:
        """Whether an engine takes batches now."""
        return bool(self.lane.replicas)

    def _ran(self, rows: int, run_s: float) -> None:
        self.statistics.count_run(rows, run_s)
        if self._observe is not None:
            self._observe(self.model_id, rows, run_s)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While a request holds it, the version is not unloaded."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def _as_ids(self, inputs: Batch) -> Batch:
        """The texts as ids, read once: they are counted before they run."""
        assert self.texts is not None
        return {name: id_rows(self.texts.read(values.tolist())) for name, values in inputs.items()}

    def units_of(self, inputs: Batch, rows: int) -> int:
        """What the rows are charged: themselves, or the ids that are read of them."""
        if self.texts is None:
            return rows
        return sum(count_ids(text) for text in inputs[self.signature.inputs[0].name].tolist())

    def answers(self, outputs: Batch) -> list[Any]:
        """One JSON-ready answer a row, as the task shows it."""
        return self._decode(outputs, self.manifest.output, self.manifest.labels)

    def check(self, outputs: Batch) -> None:
        """Raises InvalidValue, naming the row, where an answer is no finite number and the task's answers all are."""
        if not self._only_finite:
            return
        for values in outputs.values():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                finite_N = np.isfinite(values).reshape(len(values), -1).all(axis=1)
                raise InvalidValue(
                    f"row {int(np.argmin(finite_N)) + 1} has no finite answer: a number in it lies too far outside of those"
                    " that the model was trained on"
                )

"""One version, loaded: its engine, the thread that runs it, and what is needed to read a row and show an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from modeltap.bundle.files import open_bundle
from modeltap.bundle.golden import replay_golden
from modeltap.data.rows import RowReader
from modeltap.domain.signature import Batch
from modeltap.engines.select import open_engine
from modeltap.errors import InvalidValue
from modeltap.tasks.catalogue import find_task


class Replica:
    """A warm engine. Batches run one after the other on its own thread, so that the event loop stays free."""

    def __init__(self, model_id: str, files: Mapping[str, Path]) -> None:
        """Loads the graph and replays its golden rows, which also warms it. Raises GoldenMismatch or Broken."""
        bundle = open_bundle(files)
        self.model_id = model_id
        self.in_flight = 0
        self.manifest = bundle.manifest
        self.signature = bundle.manifest.signature
        self.reader = RowReader(bundle.manifest.schema)
        self._decode = find_task(bundle.manifest.task).decode
        self._engine = open_engine(bundle)
        replay_golden(bundle.golden, bundle.manifest.schema, self.signature, self._engine.run)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"engine-{model_id}")

    @contextmanager
    def used(self) -> Iterator[None]:
        """While a request holds it, the replica is not closed."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def run(self, batch: Batch) -> Batch:
        """The graph's outputs for the batch. Raises InvalidValue, naming the row, where an answer is no finite number."""
        outputs = await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.run, batch)
        _check_finite(outputs)
        return outputs

    def answers(self, outputs: Batch) -> list[Any]:
        """One JSON-ready answer a row, as the task shows it."""
        return self._decode(outputs, self.manifest.output, self.manifest.labels)

    def close(self) -> None:
        """Waits for the batch that runs, then lets the engine go."""
        self._thread.shutdown(wait=True)
        self._engine.close()


def _check_finite(outputs: Batch) -> None:
    for values in outputs.values():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            finite_N = np.isfinite(values).reshape(len(values), -1).all(axis=1)
            raise InvalidValue(
                f"row {int(np.argmin(finite_N)) + 1} has no finite answer: a number in it lies too far outside of those that"
                " the model was trained on"
            )

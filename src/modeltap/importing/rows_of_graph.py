"""Whether a graph answers row by row, and from how many rows on a row's answer is the same to the bit."""

from __future__ import annotations

from collections.abc import Sequence

from modeltap.bundle.golden import Run
from modeltap.bundle.invariance import SIZES, measure_min_batch
from modeltap.domain.signature import Batch
from modeltap.errors import ModeltapError

SAMPLE_ROWS = 8
SMALL_BYTES, MIDDLE_BYTES = 4 << 20, 128 << 20
MIDDLE_SIZE = 33
LARGE_SIZES = (1, 2, 4, 8, 9, 16)
"""Beyond the largest number of rows that an engine pads to, which alone would say nothing."""


def measure_rows(run: Run, inputs: Batch, *, graph_bytes: int) -> int | None:
    """The least number of rows in a run from which on no row's answer depends on the others; None for a graph whose rows do
    depend on each other, which cannot be put together with another's.

    inputs: SAMPLE_ROWS rows. A large graph is tried with fewer rows, by its size alone, so that it is always tried the same.
    """
    outputs = run(inputs)
    if any(values.ndim == 0 or len(values) != SAMPLE_ROWS for values in outputs.values()):
        return None
    row_bytes = sum(values.nbytes // len(values) for batch in (inputs, outputs) for values in batch.values())
    try:
        return measure_min_batch(run, inputs, sizes=_sizes(graph_bytes + row_bytes)) or None
    except ModeltapError:  # there is a number of rows that it does not take
        return None


def _sizes(num_bytes: int) -> Sequence[int]:
    if num_bytes < SMALL_BYTES:
        return SIZES
    return [size for size in SIZES if size <= MIDDLE_SIZE] if num_bytes < MIDDLE_BYTES else LARGE_SIZES

"""Queues, entries and simulated loads that the tests of batching share."""

from __future__ import annotations

from modeltap.batching.cost import CostLine
from modeltap.batching.queue import BatchQueue

FIXED_S = 2e-4
PER_ROW_S = 2e-5
MAX_ROWS = 64
FULL_S = FIXED_S + PER_ROW_S * MAX_ROWS
PEAK = MAX_ROWS / FULL_S
"""Rows a second that one engine runs in full batches: about 43,000."""


def make_queue(
    *,
    prior: float = 1.0,
    max_batch_rows: int = MAX_ROWS,
    max_queue_rows: int = 100_000,
    max_queue_bytes: int = 1 << 30,
    engines: int = 1,
    timer_s: float = 1e-3,
) -> BatchQueue:
    """A queue whose cost line begins at so many times the truth."""
    return BatchQueue(
        cost=CostLine(fixed_s=prior * FIXED_S, per_row_s=prior * PER_ROW_S),
        max_batch_rows=max_batch_rows,
        max_queue_rows=max_queue_rows,
        max_queue_bytes=max_queue_bytes,
        engines=engines,
        timer_s=timer_s,
    )

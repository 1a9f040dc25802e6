"""What the batch queue gains under simulated loads, against fixed windows and no batching; and what it costs itself.

The simulation runs the real queue on a played clock, so its figures do not depend on the machine; the queue's own cost does.
"""

from __future__ import annotations

import statistics
import time

from modeltap.batching.cost import CostLine
from modeltap.batching.queue import BatchQueue, Entry
from modeltap.batching.simulator import Hold, at_once, fixed_window, simulate
from modeltap.batching.workload import line_time, poisson, requests
from modeltap.errors import Overloaded

FIXED_S = 2e-4
PER_ROW_S = 2e-5
NOISE = 0.1
MAX_BATCH_ROWS = 64
WITHIN_S = 0.02
PEAK = MAX_BATCH_ROWS / (FIXED_S + PER_ROW_S * MAX_BATCH_ROWS)
LOADS = (0.3, 0.6, 0.9, 1.2, 2.0, 5.0)
SECONDS = 0.5
WAYS: dict[str, tuple[Hold, int]] = {
    "work-conserving": (at_once, MAX_BATCH_ROWS),
    "window 1 ms": (fixed_window(0.001), MAX_BATCH_ROWS),
    "window 5 ms": (fixed_window(0.005), MAX_BATCH_ROWS),
    "no batching": (at_once, 1),
}
ROUNDS = 7
ENTRIES = 32_000


def measure() -> str:
    """Two Markdown tables: goodput, latency and batch size by load and way; microseconds an entry by batch size."""
    heads = "".join(f" {way} |" for way in WAYS)
    lines = [f"| load |{heads}", f"|---|{'---|' * len(WAYS)}"]
    lines += [f"| {load:g}× |{''.join(f' {_cell(load, *way)} |' for way in WAYS.values())}" for load in LOADS]
    lines += [
        "",
        f"Each cell: goodput as a part of the peak, p50 / p99 in ms, rows a batch. Poisson arrivals of one row, {WITHIN_S:g} s"
        f" to their deadline; a batch runs {FIXED_S * 1e6:g} µs + {PER_ROW_S * 1e6:g} µs a row ± {NOISE:.0%}, at most"
        f" {MAX_BATCH_ROWS} rows, so the peak is {PEAK:,.0f} rows/s. All ways refuse at the door what would be late.",
        "",
        "| the queue's own work | µs of processor time an entry |",
        "|---|---|",
    ]
    lines += [f"| offer, take, finish in batches of {size} | {_admitted_us(size):.1f} |" for size in (1, 8, 64)]
    lines.append(f"| a refusal under overload | {_refused_us():.1f} |")
    return "\n".join(lines)


def _queue(max_batch_rows: int) -> BatchQueue:
    return BatchQueue(
        cost=CostLine(fixed_s=FIXED_S, per_row_s=PER_ROW_S),
        max_batch_rows=max_batch_rows,
        max_queue_rows=1_000_000,
        max_queue_bytes=1 << 40,
    )


def _cell(load: float, hold: Hold, max_batch_rows: int) -> str:
    arrivals = requests(poisson(load * PEAK, SECONDS), within_s=(WITHIN_S,))
    run_time = line_time(FIXED_S, PER_ROW_S, noise=NOISE)
    summary = simulate(arrivals, _queue(max_batch_rows), run_time, hold=hold).summary()
    late = f", {summary.late} late" if summary.late else ""
    return (
        f"{summary.goodput_rows / PEAK:.2f}, {summary.p50_s * 1e3:.1f} / {summary.p99_s * 1e3:.1f},"
        f" {summary.mean_batch_rows:.0f}{late}"
    )


def _admitted_us(size: int) -> float:
    """Median over the rounds, the entries' making included."""
    seconds = []
    for _ in range(ROUNDS):
        queue = _queue(size)
        now_s = 0.0
        started = time.process_time()
        for _ in range(ENTRIES // size):
            for _ in range(size):
                queue.offer(Entry(1, deadline_s=now_s + 1), now_s)
            batch = queue.take(now_s)
            assert batch is not None
            now_s += 1e-3
            queue.finish(batch, now_s, 1e-3)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds) / ENTRIES * 1e6


def _refused_us() -> float:
    queue = _queue(MAX_BATCH_ROWS)
    seconds = []
    for _ in range(ROUNDS):
        num_refused = 0
        started = time.process_time()
        for _ in range(ENTRIES):
            try:
                queue.offer(Entry(1, deadline_s=WITHIN_S), 0.0)
            except Overloaded:
                num_refused += 1
        seconds.append((time.process_time() - started) / num_refused)
    return statistics.median(seconds) * 1e6


if __name__ == "__main__":
    print(measure())

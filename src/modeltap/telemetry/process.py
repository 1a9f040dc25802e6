"""What a process of the server says of itself: memory, processor time, open files, how late its event loop is."""

from __future__ import annotations

import asyncio
import time

from modeltap.telemetry.metrics import Metrics

LAG_EVERY_S = 0.25


def watch_process(metrics: Metrics) -> None:
    """From now on the numbers hold those of this process."""
    import psutil

    own = psutil.Process()
    labels = (metrics.process,)
    metrics.add_gauge("modeltap_process_resident_memory_bytes", lambda: [(labels, own.memory_info().rss)])
    metrics.add_counter("modeltap_process_cpu_seconds_total", lambda: [(labels, time.process_time())])
    metrics.add_gauge("modeltap_process_start_time_seconds", lambda: [(labels, own.create_time())])
    if hasattr(own, "num_fds"):
        metrics.add_gauge("modeltap_process_open_files", lambda: [(labels, own.num_fds())])


async def watch_loop(metrics: Metrics, *, every_s: float = LAG_EVERY_S) -> None:
    """Looks, until it is cancelled, how much later than planned the event loop comes back to it."""
    while True:
        planned_s = time.monotonic() + every_s
        await asyncio.sleep(every_s)
        metrics.observe_lag(max(0.0, time.monotonic() - planned_s))

"""What a simulation is fed with: requests that come whether or not others were answered, and how long their batches run."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from modeltap.batching.entry import BULK, INTERACTIVE, Priority

RunTime = Callable[[int, Hashable], float]
"""(rows, bucket) → seconds that such a batch runs this time."""


class Request(NamedTuple):
    """One arrival; times are seconds from the start of the simulation, `within_s` and `cancel_after_s` from the arrival."""

    at_s: float
    rows: int = 1
    within_s: float = math.inf
    size_bytes: int = 0
    bucket: Hashable = None
    priority: Priority = INTERACTIVE
    cancel_after_s: float | None = None


def poisson(rate: float, seconds: float, *, seed: int = 0) -> list[float]:
    """Arrival times at so many a second on average, independent of each other."""
    rng = np.random.default_rng(seed)
    num_arrivals = int(rng.poisson(rate * seconds))
    return sorted(rng.uniform(0.0, seconds, num_arrivals).tolist())


def bursts(size: int, every_s: float, seconds: float, *, within_s: float = 0.0, seed: int = 0) -> list[float]:
    """Arrival times of `size` at a time, each burst spread over `within_s`."""
    rng = np.random.default_rng(seed)
    starts = np.arange(0.0, seconds, every_s)
    return sorted((starts[:, None] + rng.uniform(0.0, within_s, (len(starts), size))).ravel().tolist())


def requests(
    times: Sequence[float],
    *,
    rows: Sequence[int] = (1,),
    within_s: Sequence[float] = (math.inf,),
    buckets: Mapping[Hashable, float] | None = None,
    bulk_part: float = 0.0,
    cancelled_part: float = 0.0,
    size_bytes: int = 0,
    seed: int = 0,
) -> list[Request]:
    """A request at each of the times, in order, with rows, deadline and bucket drawn independently.

    buckets: bucket → how often it is drawn, relative to the others; None is one bucket. Cancelled requests are cancelled at a
    random moment before their deadline, which must be finite then.
    """
    rng = np.random.default_rng(seed)
    num = len(times)
    names: list[Hashable] = list(buckets) if buckets else [None]
    weight = np.array([buckets[name] for name in names], dtype=float) if buckets else np.ones(1)
    rows_N = rng.choice(np.array(rows), num).tolist()
    within_N = rng.choice(np.array(within_s), num).tolist()
    bucket_N = rng.choice(len(names), num, p=weight / weight.sum()).tolist()
    bulk_N = (rng.random(num) < bulk_part).tolist()
    cancelled_N = (rng.random(num) < cancelled_part).tolist()
    moment_N = rng.random(num).tolist()
    return [
        Request(
            at_s=at_s,
            rows=rows_N[i],
            within_s=within_N[i],
            size_bytes=size_bytes,
            bucket=names[bucket_N[i]],
            priority=BULK if bulk_N[i] else INTERACTIVE,
            cancel_after_s=moment_N[i] * within_N[i] if cancelled_N[i] else None,
        )
        for i, at_s in enumerate(sorted(times))
    ]


def line_time(fixed_s: float, per_row_s: float, *, noise: float = 0.0, seed: int = 0) -> RunTime:
    """Run times on a line, times a log-normal factor of mean 1 whose logarithm has the standard deviation `noise`."""
    rng = np.random.default_rng(seed)

    def run_time(rows: int, _bucket: Hashable) -> float:
        factor = math.exp(rng.normal(-noise * noise / 2, noise)) if noise else 1.0
        return (fixed_s + per_row_s * rows) * factor

    return run_time


def recorded_time(samples: Mapping[int, Sequence[float]], *, seed: int = 0) -> RunTime:
    """Run times as they were recorded, rows → seconds: the same random quantile of the two nearest sizes, a line between them.

    Beyond the largest size the time per row stays as it is there.
    """
    rng = np.random.default_rng(seed)
    sizes = sorted(samples)
    sorted_s = [np.sort(np.asarray(samples[size], dtype=float)) for size in sizes]

    def run_time(rows: int, _bucket: Hashable) -> float:
        quantile = rng.random()
        seconds_K = [float(np.quantile(known, quantile)) for known in sorted_s]
        if rows > sizes[-1]:
            return seconds_K[-1] * rows / sizes[-1]
        return float(np.interp(rows, sizes, seconds_K))

    return run_time

"""What exact metering costs a request: limits, frames, the disk; and what a record costs on its way into the database."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from modeltap.domain.quota import QuotaBook
from modeltap.domain.quota_counters import Subject
from modeltap.domain.tenant import Limits
from modeltap.serving.meter import Meter, Ticket
from modeltap.storage.opening import open_database
from modeltap.storage.segments import SegmentWriter
from modeltap.storage.segments_frames import Reserve, encode_frame
from modeltap.storage.segments_ingest import ingest
from modeltap.storage.segments_sync import GroupCommit

ROUNDS = 7
REQUESTS = 10_000
GROUP = 32
BUDGET_US = 6.0
"""Of a request through limits, frames and the disk."""
BUDGET_ROW_US = 6.0
Spent = tuple[float, float]
"""CPU and wall time of one request, in microseconds."""
PLENTY = Limits(rpm=10**12, upm=10**12, concurrency=10**6, budget_day_nano=10**18, budget_month_nano=10**18)


class Nowhere(SegmentWriter):
    """Takes frames and drops them: what is left is what Python does."""

    def append(self, data: bytes) -> None:
        pass


def measure() -> str:
    """A Markdown table of medians."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        return _table(Path(folder))


def _table(folder: Path) -> str:
    ways: dict[str, Callable[[], Spent]] = {
        "one counter in a dictionary": _dictionary,
        "`os.write` of one frame, O_APPEND": lambda: _write(folder),
        "limits alone: reserve + settle, key and tenant with all five limits": lambda: _limits(PLENTY, PLENTY),
        "limits alone, the tenant without": lambda: _limits(PLENTY, Limits()),
        "limits alone, neither with any": lambda: _limits(Limits(), Limits()),
        "meter, frames dropped (reserve + settle + delivered, all limits)": lambda: _meter(folder, Nowhere),
        "meter, durability `process`, no limits": lambda: _meter(folder, SegmentWriter, Limits()),
        "meter, durability `process`, all limits": lambda: _meter(folder, SegmentWriter),
        f"meter, durability `power`, {GROUP} requests at a time": lambda: _power(folder),
        f"the same {GROUP} at a time without the disk's sync": lambda: _power(folder, sync=False),
        f"ingest, a record of {GROUP} requests at a time (answered; delivered together → one row, four indexes)": lambda: (
            _ingest(folder, together=True)
        ),
        "ingest, a record (reserve + settle + delivered → one row, four indexes)": lambda: _ingest(folder),
    }
    times: dict[str, list[Spent]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            times[name].append(run())
    budgets = {"meter, durability `process`, all limits": BUDGET_US, list(ways)[-1]: BUDGET_ROW_US}
    lines = ["| what | CPU µs, median | µs, median | µs, best | budget |", "|---|---|---|---|---|"]
    for name, found in times.items():
        cpu_us, wall_us = [cpu for cpu, _ in found], [wall for _, wall in found]
        numbers = f"{statistics.median(cpu_us):.2f} | {statistics.median(wall_us):.2f} | {min(wall_us):.2f}"
        lines.append(f"| {name} | {numbers} | {budgets.get(name, '')} |")
    return "\n".join(lines)


class Stopwatch:
    """CPU and wall time of a block; `spent` is what one of a number of requests took of it."""

    def __enter__(self) -> Stopwatch:
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._cpu_s, self._wall_s = time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s

    def spent(self, number: int) -> Spent:
        return self._cpu_s / number * 1e6, self._wall_s / number * 1e6


def _per_request(run: Callable[[], object], number: int = REQUESTS) -> Spent:
    with Stopwatch() as watch:
        for _ in range(number):
            run()
    return watch.spent(number)


def _dictionary() -> Spent:
    counts = {"k1": 0}

    def add() -> None:
        counts["k1"] += 1

    return _per_request(add)


def _write(folder: Path) -> Spent:
    frame = encode_frame(Reserve(1, "req-0123456789abcdef01234567", "acme", "k1", "digits", "row", 32, 32_000, time.time()))
    path = folder / "alone"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        return _per_request(lambda: os.write(handle, frame))
    finally:
        os.close(handle)
        path.unlink()


def _book(of_key: Limits, of_tenant: Limits) -> QuotaBook:
    book = QuotaBook()
    book.set_limits(Subject("acme", "k1"), of_key)
    book.set_limits(Subject("acme"), of_tenant)
    return book


def _limits(of_key: Limits, of_tenant: Limits) -> Spent:
    book = _book(of_key, of_tenant)
    now_s = time.time()
    return _per_request(
        lambda: book.reserve("k1", "acme", units=32, cost_nano=32_000, now_s=now_s).settle(units=32, cost_nano=32_000)
    )


_writers = 0


def _open(
    folder: Path, kind: type[SegmentWriter], limits: Limits = PLENTY, *, power: bool = False, together: bool = False
) -> tuple[SegmentWriter, Meter]:
    global _writers
    _writers += 1
    segments = kind(folder / "usage", f"w{_writers}", durability="power" if power else "process")
    return segments, Meter(segments, _book(limits, limits), later=(lambda _commit: None) if together else None)


def _reserve(meter: Meter) -> Ticket:
    return meter.reserve(
        request_id="req-0123456789abcdef01234567",
        tenant="acme",
        key="k1",
        deployment="digits",
        unit="row",
        units=32,
        cost_nano=32_000,
    )


def _request(meter: Meter) -> Ticket:
    ticket = _reserve(meter)
    meter.settle(ticket, model="digits@3", units=32, queue_us=80, compute_us=900)
    return ticket


def _turn(meter: Meter) -> None:
    """Requests that are accepted and end in one turn of the event loop, as a server under load has them."""
    tickets = [_reserve(meter) for _ in range(GROUP)]
    for ticket in tickets:
        meter.prepare(ticket, model="digits@3", units=32, queue_us=80, compute_us=900)
    meter.commit()
    for ticket in tickets:
        meter.delivered(ticket)


def _meter(folder: Path, kind: type[SegmentWriter], limits: Limits = PLENTY) -> Spent:
    _, meter = _open(folder, kind, limits)
    try:
        return _per_request(lambda: meter.delivered(_request(meter)))
    finally:
        meter.close()
        _empty(folder)


def _power(folder: Path, *, sync: bool = True) -> Spent:
    async def main() -> Spent:
        segments, meter = _open(folder, SegmentWriter, power=True)
        commit = GroupCommit(segments)

        async def one() -> None:
            ticket = _request(meter)
            await (commit.flush_power() if sync else asyncio.sleep(0))
            meter.delivered(ticket)

        rounds = 20
        with Stopwatch() as watch:
            for _ in range(rounds):
                await asyncio.gather(*(one() for _ in range(GROUP)))
        commit.close()
        meter.close()
        return watch.spent(rounds * GROUP)

    try:
        return asyncio.run(main())
    finally:
        _empty(folder)


def _ingest(folder: Path, *, together: bool = False) -> Spent:
    """From segments on the disk to committed rows; `together` is as a server under load writes them."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        database = open_database(Path(home))
        _, meter = _open(folder, SegmentWriter, together=together)
        for _ in range(REQUESTS // GROUP):
            if together:
                _turn(meter)
            else:
                for _ in range(GROUP):
                    meter.delivered(_request(meter))
        meter.close()
        with Stopwatch() as watch:
            done = ingest(database, folder / "usage", time.time())
        database.close()
    return watch.spent(done.num_records)


def _empty(folder: Path) -> None:
    for path in (folder / "usage").iterdir():
        path.unlink()


if __name__ == "__main__":
    print(measure())

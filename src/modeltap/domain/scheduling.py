"""Which queued job starts next: tenants share slots, priorities age, and no two jobs are given the same thread. Pure.

A job waits in the lane of its kind. Of the tenants that wait there, the one with the fewest running jobs is next, then the one
that used the lane least of late; of a tenant's own jobs the one that came first, where each step of priority counts as having
come AGEING_S earlier. So nothing is overtaken by what came more than two steps later, and nobody waits for ever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from modeltap.domain.job import JOB_KINDS, JobKind, Priority

RANKS: dict[Priority, int] = {"low": 0, "normal": 1, "high": 2}
AGEING_S = 1800.0


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """Slots for some kinds of jobs. `noun` says what runs there."""

    noun: str
    kinds: tuple[JobKind, ...]
    slots: int
    share: int = 1
    """Threads of a job that names none; 0 of jobs that only wait for answers of others."""
    is_light: bool = False
    """Of seconds: it may have the thread that is kept from the others, and takes fewer than its share where fewer are free."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """What all jobs have together. Where `threads` is more than 1, one of them is kept for light jobs."""

    lanes: tuple[Lane, ...]
    threads: int

    @property
    def heavy_threads(self) -> int:
        return max(1, self.threads - 1)

    def lane_of(self, kind: JobKind) -> Lane:
        return next(lane for lane in self.lanes if kind in lane.kinds)


UNLIMITED = Pool(lanes=(Lane(noun="jobs", kinds=JOB_KINDS, slots=1 << 30),), threads=1 << 30)


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A queued job whose wait, if it had one, is over. `threads` None: it names none."""

    id: str
    tenant: str
    kind: JobKind
    priority: Priority = "normal"
    created_s: float
    threads: int | None = None


class Running(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str
    kind: JobKind
    threads: int


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A job to start now, and the threads that are taken for it."""

    id: str
    threads: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a queued job stands: how many go before it, itself counted, and what it waits for."""

    position: int
    waits_for: Literal["slot", "threads", "runner"]
    detail: str


Used = Mapping[tuple[str, str], float]
"""(a lane's noun, tenant) → seconds of slots that it used of late."""


def arrival_s(job: Waiting) -> float:
    """When it would have come to wait as long as it does, had it no priority."""
    return job.created_s - RANKS[job.priority] * AGEING_S


def threads_wanted(job: Waiting, pool: Pool) -> int:
    """What is taken for it. Of more than all there are, all: then it runs alone."""
    lane = pool.lane_of(job.kind)
    if not lane.share:
        return 0
    return min(job.threads or lane.share, pool.threads if lane.is_light else pool.heavy_threads)


def plan_starts(waiting: Iterable[Waiting], running: Iterable[Running], used: Used, pool: Pool) -> list[Start]:
    """What starts now, in this order. Nothing smaller overtakes the job that its lane's free threads do not suffice for."""
    books = {lane.noun: _Book(lane, used) for lane in pool.lanes}
    taken = _Taken(pool)
    for runner in running:
        lane = pool.lane_of(runner.kind)
        books[lane.noun].count(runner.tenant)
        taken.take(lane, runner.threads)
    for waiter in waiting:
        books[pool.lane_of(waiter.kind).noun].add(waiter)
    starts: list[Start] = []
    for lane in sorted(pool.lanes, key=lambda lane: not lane.is_light):
        book = books[lane.noun]
        while book.num_running < lane.slots and (job := book.first()) is not None:
            threads = taken.threads_for(lane, threads_wanted(job, pool), is_fixed=job.threads is not None)
            if threads is None:
                break
            taken.take(lane, threads)
            book.start(job)
            starts.append(Start(id=job.id, threads=threads))
    return starts


def plan_standings(waiting: Iterable[Waiting], running: Sequence[Running], used: Used, pool: Pool) -> dict[str, Standing]:
    """Id → where it stands, if no other job came and slots became free one by one."""
    by_lane: defaultdict[str, list[Waiting]] = defaultdict(list)
    for waiter in waiting:
        by_lane[pool.lane_of(waiter.kind).noun].append(waiter)
    taken = _Taken(pool)
    for job in running:
        taken.take(pool.lane_of(job.kind), job.threads)
    standings: dict[str, Standing] = {}
    for lane in pool.lanes:
        book = _Book(lane, used)
        for job in running:
            if job.kind in lane.kinds:
                book.count(job.tenant)
        num_running = book.num_running
        for waiter in by_lane[lane.noun]:
            book.add(waiter)
        position = 0
        while (next_job := book.first()) is not None:
            position += 1
            standings[next_job.id] = _standing(position, num_running, next_job, lane, pool, taken)
            book.start(next_job)
    return standings


def _standing(position: int, num_running: int, job: Waiting, lane: Lane, pool: Pool, taken: _Taken) -> Standing:
    before = f"{position - 1} {'job goes' if position == 2 else 'jobs go'} before it; " if position > 1 else ""
    if num_running + position > lane.slots:
        detail = f"{before}{num_running} of {lane.slots} slots for {lane.noun} are taken"
        return Standing(position=position, waits_for="slot", detail=detail)
    wanted, free = threads_wanted(job, pool), taken.free(lane)
    if wanted > free and (job.threads is not None or not lane.is_light or not free):
        of = pool.threads if lane.is_light else pool.heavy_threads
        detail = f"{before}it needs {wanted} of {of} threads, and {free} are free"
        return Standing(position=position, waits_for="threads", detail=detail)
    return Standing(position=position, waits_for="runner", detail=f"{before}it is about to start")


class _Taken:
    """The threads of jobs that run."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._all = 0
        self._heavy = 0

    def take(self, lane: Lane, threads: int) -> None:
        self._all += threads
        if not lane.is_light:
            self._heavy += threads

    def free(self, lane: Lane) -> int:
        free = self._pool.threads - self._all
        return max(0, free if lane.is_light else min(free, self._pool.heavy_threads - self._heavy))

    def threads_for(self, lane: Lane, wanted: int, *, is_fixed: bool) -> int | None:
        """What it is given; None: it waits."""
        free = self.free(lane)
        if wanted <= free:
            return wanted
        return free if lane.is_light and not is_fixed and free else None


class _Book:
    """Who waits in a lane and how much each tenant has of it."""

    def __init__(self, lane: Lane, used: Used) -> None:
        self._lane = lane
        self._used = used
        self._queues: dict[str, list[Waiting]] = {}
        self._is_sorted = True
        self._running: defaultdict[str, int] = defaultdict(int)
        self.num_running = 0

    def count(self, tenant: str) -> None:
        """One more of its jobs runs."""
        self._running[tenant] += 1
        self.num_running += 1

    def add(self, job: Waiting) -> None:
        self._queues.setdefault(job.tenant, []).append(job)
        self._is_sorted = False

    def first(self) -> Waiting | None:
        """The job that is next; it stays."""
        if not self._is_sorted:
            for queue in self._queues.values():
                queue.sort(key=_order, reverse=True)
            self._is_sorted = True
        tenant = min(self._queues, key=self._claim, default=None)
        return None if tenant is None else self._queues[tenant][-1]

    def start(self, job: Waiting) -> None:
        """It was the first, and runs now."""
        queue = self._queues[job.tenant]
        queue.pop()
        if not queue:
            del self._queues[job.tenant]
        self.count(job.tenant)

    def _claim(self, tenant: str) -> tuple[int, float, tuple[float, str]]:
        used_s = self._used.get((self._lane.noun, tenant), 0.0)
        return self._running[tenant], used_s, _order(self._queues[tenant][-1])


def _order(job: Waiting) -> tuple[float, str]:
    return arrival_s(job), job.id

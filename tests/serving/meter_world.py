"""Requests on connections that are metered for real, and the disk as a crash at any of its bytes would leave it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

from modeltap.domain.quota import QuotaBook
from modeltap.domain.quota_counters import Subject
from modeltap.domain.tenant import Limits
from modeltap.serving.meter import Meter, Ticket
from modeltap.storage.segments import SegmentWriter, segment_files
from modeltap.storage.segments_frames import PREFIX_BYTES, parse_frames

NOW_S = 1_795_323_967.0
WRITER = "w1"
KEY, TENANT = Subject("acme", "k1"), Subject("acme")
Step = Literal["reserve", "settle", "sync", "prepare", "commit", "turn", "send", "delivered", "close", "fail", "cancel"]
"""turn: the event loop's, in which what was accepted comes due."""
ANSWERED: tuple[Step, ...] = ("reserve", "settle", "send", "delivered", "close")
TOGETHER: tuple[Step, ...] = ("reserve", "prepare", "commit", "send", "turn", "delivered", "close")


class Move(NamedTuple):
    """The next step of the request on that connection."""

    connection: int
    step: Step


class Moment(NamedTuple):
    """What is true after a step: how many bytes were written and how many are safe, which answers left, which connections
    are open."""

    written: int
    safe: int
    left: frozenset[str]
    open: frozenset[int]


@dataclass
class Run:
    """A script that was played to its end, without a crash."""

    folder: Path
    limits: Limits = field(default_factory=Limits)
    max_bytes: int = 1 << 20
    power: bool = False
    is_late: bool = False
    """What is accepted is on record when it comes due, or with its end."""
    now_s: float = NOW_S
    moments: list[Moment] = field(default_factory=lambda: [Moment(0, 0, frozenset(), frozenset())])
    settled: dict[str, int] = field(default_factory=dict)
    """Request → cost, once it was settled."""

    def __post_init__(self) -> None:
        self.book = QuotaBook()
        self.book.set_limits(KEY, self.limits)
        self.segments = SegmentWriter(self.folder, WRITER, max_bytes=self.max_bytes)
        self._due: list[Callable[[], None]] = []
        later = self._due.append if self.is_late else None
        self.meter = Meter(self.segments, self.book, clock=lambda: self.now_s, later=later)
        self._prepared: dict[str, int] = {}
        self._tickets: dict[int, Ticket] = {}
        self._num_requests = 0
        self._left: set[str] = set()
        self._open: set[int] = set()
        self._safe = 0

    def play(self, script: Sequence[Move]) -> Run:
        """All of it, and then the process is killed."""
        for connection, step in script:
            self.act(connection, step)
        self.stop()
        return self

    def act(self, connection: int, step: Step) -> None:
        ticket = self._tickets.get(connection)
        if step == "reserve":
            self._open.add(connection)
            self._num_requests += 1
            self._tickets[connection] = self.meter.reserve(
                request_id=f"r{self._num_requests}",
                tenant="acme",
                key="k1",
                deployment="digits",
                unit="row",
                units=4,
                cost_nano=400,
            )
        elif step == "close":
            self.meter.flush()
            self._open.discard(connection)
        elif step == "sync":
            self._safe = self._written()
        elif ticket is not None and step == "settle":
            self.settled[ticket.request_id] = self.meter.settle(ticket, model="digits@1", units=3, queue_us=1, compute_us=2)
        elif ticket is not None and step == "prepare":
            self._prepared[ticket.request_id] = self.meter.prepare(ticket, model="digits@1", units=3, queue_us=1, compute_us=2)
        elif step == "commit":
            self.meter.commit()
        elif step == "turn":
            due, self._due[:] = list(self._due), []
            for then in due:
                then()
        elif ticket is not None and step == "send":
            if ticket.state == "settled":
                self.settled.setdefault(ticket.request_id, self._prepared.get(ticket.request_id, 0))
            self._left.add(ticket.request_id)
        elif ticket is not None and step == "delivered":
            self.meter.delivered(ticket)
        elif ticket is not None and step == "fail":
            self.meter.fail(ticket, "invalid_value")
        elif ticket is not None and step == "cancel":
            self.meter.cancel(ticket)
        written = self._written()
        safe = self._safe if self.power else written
        self.moments.append(Moment(written, safe, frozenset(self._left), frozenset(self._open)))

    def stop(self) -> None:
        """As a process ends that is killed: nothing is written, and the system closes its files."""
        for handle in (*self.segments.handles(), self.segments._lock):
            os.close(handle)

    def contents(self) -> list[tuple[str, bytes]]:
        """The segments as they are, in their order."""
        return [(file.path.name, file.path.read_bytes()) for file in segment_files(self.folder)]

    def _written(self) -> int:
        return sum(file.path.stat().st_size for file in segment_files(self.folder))


class Crash(NamedTuple):
    """What a crash leaves: the files, the answers that may have left, and the connections that were open."""

    files: tuple[tuple[str, bytes], ...]
    left: frozenset[str]
    open: frozenset[int]

    def restore(self, folder: Path) -> None:
        """Makes the folder what the crash left."""
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, content in self.files:
            (folder / name).write_bytes(content)


def crashes(run: Run, cuts: Callable[[bytes], Sequence[int]]) -> Iterator[Crash]:
    """Every state in which a crash at any moment may leave the disk; `cuts` are the bytes of a file at which it is tried."""
    contents = run.contents()
    seen: set[Crash] = set()
    places = [0]
    start = 0
    for _, content in contents:
        places += [start + cut for cut in cuts(content)]
        start += len(content)
    for before, after in zip(run.moments, [*run.moments[1:], run.moments[-1]], strict=True):
        for place in places:
            if before.safe <= place <= after.written:
                left = after.left if place >= before.written else before.left
                crash = Crash(tuple(_cut(contents, place)), left, before.open | after.open)
                if crash not in seen:
                    seen.add(crash)
                    yield crash


def _cut(contents: list[tuple[str, bytes]], place: int) -> Iterator[tuple[str, bytes]]:
    """The first so many bytes of all. A file has its name once its first frame is whole."""
    for name, content in contents:
        part = content[: max(0, place)]
        place -= len(content)
        if parse_frames(part)[0]:
            yield name, part


def frame_cuts(content: bytes) -> list[int]:
    """Around each frame: after it, one byte before its end, and in its first bytes."""
    ends, at = [], 0
    while at < len(content):
        at += PREFIX_BYTES + int.from_bytes(content[at : at + 4], "little")
        ends.append(at)
    return sorted({cut for end in ends for cut in (end - 1, end, min(end + 5, len(content)))})


def interleavings(one: Sequence[Move], other: Sequence[Move]) -> Iterator[list[Move]]:
    """Every order in which two requests may go on beside each other."""
    total = len(one) + len(other)
    for places in combinations(range(total), len(one)):
        mine, theirs = iter(one), iter(other)
        yield [next(mine) if place in places else next(theirs) for place in range(total)]

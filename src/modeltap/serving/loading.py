"""A version's way into memory: its files, a queue of its own, its replicas, and what it then holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from modeltap.batching.cost import CostLine
from modeltap.batching.queue import BatchQueue
from modeltap.bundle.files import WEIGHTS, Bundle, open_bundle
from modeltap.domain.deployment import Route, Terms
from modeltap.engines.onnx import runtime_version
from modeltap.serving.fleet import Fleet
from modeltap.serving.lane import Lane
from modeltap.serving.language import LanguageVersion, ObserveText, Reader
from modeltap.serving.language_fleet import LanguageFleet, engine_bytes
from modeltap.serving.upstream import UpstreamFleet, Upstreams, UpstreamVersion
from modeltap.serving.version import ObserveBatch, Version

LOADS_AT_ONCE = 2
PROCESS_BYTES = 64 << 20
"""What an engine process holds beside its graph."""
MAX_QUEUE_ROWS = 1 << 22
MAX_QUEUE_BYTES = 1 << 30
"""Bounds that one request alone stays under; what is admitted is decided by the deadlines."""

DRAIN_S = 30.0
DRAIN_TEXT_S = 600.0
"""So long calls of a version that is let go may go on; a text takes as long as it is."""

Files = Mapping[str, Path]
Served = Version | LanguageVersion | UpstreamVersion
Replicas = Fleet | LanguageFleet | UpstreamFleet
MakeRoom = Callable[[int], None]
"""Called before so many bytes are loaded; raises Unavailable where there is no room for them."""


class Placement(NamedTuple):
    """What is loaded once, for every deployment that asks for the same."""

    model_id: str
    digest: str
    replicas: int
    isolate: bool
    max_batch: int


def placement_of(route: Route, terms: Terms) -> Placement:
    return Placement(route.model_id, route.digest, terms.replicas, terms.isolate or terms.replicas > 1, terms.max_batch)


class Loaded:
    """A version that answers, and what it costs to keep."""

    __slots__ = ("_local_bytes", "fleet", "loaded_s", "version")

    def __init__(self, version: Served, fleet: Replicas, *, local_bytes: int) -> None:
        self.version = version
        self.fleet = fleet
        self.loaded_s = 0.0
        self._local_bytes = local_bytes

    @property
    def drain_s(self) -> float:
        """How long its calls may go on after it was let go."""
        return DRAIN_S if isinstance(self.version, Version) else DRAIN_TEXT_S

    @property
    def memory_bytes(self) -> int:
        """In this process and its engine processes, now."""
        return self._local_bytes + self.fleet.memory_bytes


class Loader:
    """`find_files` gives the files of a bundle by its digest; it may block."""

    def __init__(
        self,
        find_files: Callable[[str], Files],
        *,
        observe: ObserveBatch | None = None,
        observe_text: ObserveText | None = None,
        upstreams: Upstreams | None = None,
    ) -> None:
        self._find_files = find_files
        self._observe = observe
        self._observe_text = observe_text
        self._upstreams = upstreams
        self._slots = asyncio.Semaphore(LOADS_AT_ONCE)
        self._num_begun = 0
        self._num_loading = 0

    async def load(self, placement: Placement, make_room: MakeRoom) -> Loaded:
        """The version, all its replicas warm. Raises GoldenMismatch, Broken, NotFound, and what `make_room` raises."""
        async with self._slots:
            files, bundle, graph_bytes = await asyncio.to_thread(self._open, placement)
            if bundle.manifest.engine.name == "upstream":
                assert self._upstreams is not None, "whoever loads versions of upstreams says what is allowed"
                return Loaded(*await self._upstreams.open(placement.model_id, placement.digest, bundle, files), local_bytes=0)
            if bundle.manifest.language is not None:
                return await self._load_language(placement, files, bundle, make_room)
            each_bytes = graph_bytes + (PROCESS_BYTES if placement.isolate else 0)
            make_room(each_bytes * placement.replicas)
            is_batched = bundle.manifest.is_batched
            queue = BatchQueue(
                cost=CostLine(),
                max_batch_rows=placement.max_batch if is_batched else 1,
                max_queue_rows=MAX_QUEUE_ROWS,
                max_queue_bytes=MAX_QUEUE_BYTES,
                engines=0,
            )
            lane = Lane(queue, is_batched=is_batched)
            fleet = Fleet(placement.model_id, files, lane, replicas=placement.replicas, isolate=placement.isolate)
            version = Version(placement.model_id, placement.digest, bundle, lane, observe=self._observe)
            grown_bytes = await self._start(fleet)
            return Loaded(version, fleet, local_bytes=0 if fleet.has_processes else max(graph_bytes, grown_bytes))

    async def _load_language(self, placement: Placement, files: Files, bundle: Bundle, make_room: MakeRoom) -> Loaded:
        make_room(engine_bytes(files) * placement.replicas)
        reader = await asyncio.to_thread(Reader, files)
        name = placement.model_id
        fleet = LanguageFleet(name, files, bundle, replicas=placement.replicas, max_streams=placement.max_batch)
        await fleet.start()
        version = LanguageVersion(name, placement.digest, bundle, reader, fleet, observe=self._observe_text)
        return Loaded(version, fleet, local_bytes=0)

    def _open(self, placement: Placement) -> tuple[Files, Bundle, int]:
        files = self._find_files(placement.digest)
        bundle = open_bundle(files)
        if not placement.isolate and bundle.manifest.language is None:
            runtime_version()  # imported now: what it takes is no version's
        return files, bundle, sum(path.stat().st_size for name, path in files.items() if name != WEIGHTS)

    async def _start(self, fleet: Fleet) -> int:
        """By how many bytes this process grew; 0 where another version was loaded at the time, and it cannot be told."""
        self._num_begun += 1
        self._num_loading += 1
        begun, was_alone = self._num_begun, self._num_loading == 1
        before_bytes = _resident_bytes()
        try:
            await fleet.start()
        finally:
            self._num_loading -= 1
        return _resident_bytes() - before_bytes if was_alone and begun == self._num_begun else 0


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)

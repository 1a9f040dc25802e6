"""A version whose engine is a server elsewhere: reached by a URL, or a program that is started and watched here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from modeltap.bundle.files import Bundle
from modeltap.bundle.upstream import read_upstream
from modeltap.domain.replica import ReplicaState
from modeltap.domain.upstream import HostRule, Upstream, parse_hosts
from modeltap.domain.usage import Unit
from modeltap.engines.upstream import UpstreamClient
from modeltap.engines.upstream_process import WatchedUpstream
from modeltap.serving.statistics import Statistics

SETTLE_S = 20.0
"""So long a deploy waits for a program that starts; after it the program goes on starting, and callers are told so."""
FOLDER = "upstreams"
"""Of the home, with a folder for each program: its log, and where it listens."""


class Source(Protocol):
    """Where requests are sent."""

    num_restarts: int

    @property
    def model(self) -> str: ...

    @property
    def state(self) -> ReplicaState: ...

    @property
    def pid(self) -> int | None: ...

    @property
    def memory_bytes(self) -> int: ...

    def client(self) -> UpstreamClient:
        """Raises Loading, UpstreamFailed while there is none."""

    async def close(self) -> None: ...


class Attached:
    """A server that is there without us. It is not asked whether it lives: the next call finds out."""

    num_restarts = 0
    memory_bytes = 0
    pid: int | None = None
    state: ReplicaState = "ready"

    def __init__(self, upstream: Upstream, rules: Sequence[HostRule]) -> None:
        self.model = upstream.model
        variable = upstream.key_variable
        self._client = UpstreamClient(
            upstream.url,
            rules=rules,
            key=lambda: os.environ.get(variable, "") if variable else "",
            max_streams=upstream.max_streams,
        )

    def client(self) -> UpstreamClient:
        return self._client

    async def close(self) -> None:
        await self._client.close()


class UpstreamVersion:
    """What the protocols need of it. `in_flight` counts the calls that hold it; it is not unloaded under them."""

    unit: Unit = "token"

    def __init__(self, model_id: str, digest: str, bundle: Bundle, upstream: Upstream, source: Source) -> None:
        language = bundle.manifest.language
        assert language is not None, "its manifest says that it writes text"
        self.model_id = model_id
        self.digest = digest
        self.manifest = bundle.manifest
        self.signature = bundle.manifest.signature
        self.language = language
        self.upstream = upstream
        self.in_flight = 0
        self.last_used_s = 0.0
        self.statistics = Statistics()
        self._source = source

    @property
    def is_ready(self) -> bool:
        """Whether calls are answered now."""
        return self._source.state == "ready"

    @property
    def model(self) -> str:
        """What it is called there."""
        return self._source.model

    def client(self) -> UpstreamClient:
        """Raises Loading, UpstreamFailed."""
        return self._source.client()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While a call holds it, the version is not unloaded."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self.last_used_s = time.monotonic()


class UpstreamFleet:
    """What is kept of it beside the version, as of the replicas of another one."""

    has_processes = True

    def __init__(self, name: str, source: Source) -> None:
        self._name = name
        self._source = source

    def states(self) -> dict[str, ReplicaState]:
        return {f"{self._name}#1": self._source.state}

    @property
    def num_restarts(self) -> int:
        return self._source.num_restarts

    @property
    def pids(self) -> tuple[int, ...]:
        return () if self._source.pid is None else (self._source.pid,)

    @property
    def memory_bytes(self) -> int:
        return self._source.memory_bytes

    def allow_deadline(self, deadline_s: float) -> None:
        """A server elsewhere has limits of its own."""

    async def close(self) -> None:
        await self._source.close()


class Upstreams:
    """Opens what a bundle names, within what the settings allow."""

    def __init__(self, home: Path, *, hosts: str, programs: str) -> None:
        """Raises InvalidInput for a list of hosts that cannot be read."""
        self._folder = home / FOLDER
        self._rules = parse_hosts(hosts)
        self._programs = programs

    async def open(
        self, model_id: str, digest: str, bundle: Bundle, files: Mapping[str, Path]
    ) -> tuple[UpstreamVersion, UpstreamFleet]:
        """The version, ready or still starting. Raises Broken, Refused; then nothing of it is left."""
        upstream = read_upstream(files)
        source: Source = await self._source(model_id, digest, upstream)
        return UpstreamVersion(model_id, digest, bundle, upstream, source), UpstreamFleet(model_id, source)

    async def _source(self, model_id: str, digest: str, upstream: Upstream) -> Source:
        if upstream.url:
            return Attached(upstream, self._rules)
        watched = WatchedUpstream(model_id, upstream, self._folder / digest[:16], programs=self._programs)
        is_open = False
        try:
            await watched.settled(SETTLE_S)
            is_open = True
        finally:
            if not is_open:
                await watched.close()
        return watched

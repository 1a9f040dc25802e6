"""Requests as the plane makes them, without a protocol above: to a lane, or to whatever a router finds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from small_bundles import Files

from modeltap.batching.cost import CostLine
from modeltap.batching.entry import Entry
from modeltap.batching.queue import BatchQueue
from modeltap.batching.stack import bucket_of
from modeltap.domain.deployment import Deployment, Route, Terms
from modeltap.domain.signature import Batch
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import DEFAULT_TENANT, Principal, granted_scopes
from modeltap.errors import Loading
from modeltap.serving.lane import Lane, Work
from modeltap.serving.loading import Loaded, Loader, MakeRoom, Placement
from modeltap.serving.router import Load, Router
from modeltap.serving.version import Version

WAIT_S = 60.0
DEADLINE_S = 600.0
"""Far beyond WAIT_S: on a busy machine nothing is refused for being late."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CALLER = Principal(key="k", tenant=DEFAULT_TENANT, scopes=granted_scopes(("predict",)))


def new_queue(*, engines: int = 0, max_batch: int = 64) -> BatchQueue:
    return BatchQueue(
        cost=CostLine(), max_batch_rows=max_batch, max_queue_rows=1 << 20, max_queue_bytes=1 << 30, engines=engines
    )


def queued(lane: Lane, x: np.ndarray, *, deadline_s: float = DEADLINE_S) -> tuple[Entry, asyncio.Future[Batch]]:
    """The request's place in the lane, and what will come of it. Raises what refuses it."""
    outcome: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()

    def done(given: Batch | BaseException) -> None:
        assert not outcome.done(), "answered twice"
        if isinstance(given, BaseException):
            outcome.set_exception(given)
        else:
            outcome.set_result(given)

    inputs: Batch = {"x": x}
    entry = Entry(
        rows=len(x) if x.ndim else 1,
        size_bytes=x.nbytes,
        deadline_s=time.monotonic() + deadline_s,
        bucket=bucket_of(inputs),
        payload=Work(inputs, done),
    )
    lane.submit(entry)
    return entry, outcome


async def asked(version: Version, x: np.ndarray) -> np.ndarray:
    """The answers of one request, which holds the version meanwhile as the plane does. Raises what it ends with."""
    with version.held():
        outputs = await asyncio.wait_for(queued(version.lane, x)[1], WAIT_S)
    return np.asarray(outputs["y"])


def ones(num_rows: int = 1, value: float = 1.0) -> np.ndarray:
    return np.full((num_rows, 4), value, dtype=np.float32)


class Shelf:
    """Bundles by digest, where a server has its artifacts."""

    def __init__(self, **bundles: Files) -> None:
        self.bundles = bundles
        self.opened: list[str] = []

    def __call__(self, digest: str) -> dict[str, Path]:
        self.opened.append(digest)
        return self.bundles[digest]

    def router(self, **settings: Any) -> Router:
        return new_router(Loader(self).load, **settings)


_made: list[Router] = []


def new_router(load: Load, **settings: Any) -> Router:
    """One without narrow limits; `run` closes it."""
    _made.append(Router(load, **{"model_memory_bytes": 4 << 30, "unload_after_s": None, **settings}))
    return _made[-1]


def run(flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs it to its end on the event loop of a server, and closes the routers that it made, also where it fails."""

    async def whole() -> None:
        try:
            await flow()
        finally:
            while _made:
                await _made.pop().close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


def deployment(name: str, *digests: str, updated: int = 0, tenant: str = DEFAULT_TENANT, **more: Any) -> Deployment:
    """Routes to `model-DIGEST@1`; for another number write DIGEST@N."""
    terms = Terms(**{name: more.pop(name) for name in list(more) if name in Terms.__struct_fields__})
    routes = []
    for digest in digests:
        named, _, version = digest.partition("@")
        routes.append(Route(model=f"model-{named}", version=int(version or 1), digest=named))
    moment = NOW.replace(microsecond=updated)
    return Deployment(name=name, tenant=tenant, routes=tuple(routes), terms=terms, created_at=NOW, updated_at=moment, **more)


def snapshot(*deployments: Deployment) -> DeploymentSnapshot:
    held: dict[str, dict[str, Deployment]] = {}
    for one in deployments:
        held.setdefault(one.tenant, {})[one.name] = one
    return DeploymentSnapshot(deployments=held)


def found(router: Router, name: str | None, wanted: str | None = None) -> Version:
    return router.version(router.deployment(CALLER, name), wanted)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = time.monotonic()

    def __call__(self) -> float:
        return self.now_s


class Gate:
    """The loader of a shelf that stops before the versions it is told, and counts what it loads."""

    def __init__(self, shelf: Shelf, *shut: str) -> None:
        self._load = Loader(shelf).load
        self.shut = set(shut)
        self.opens = asyncio.Event()
        self.loaded: list[str] = []

    async def __call__(self, placement: Placement, make_room: MakeRoom) -> Loaded:
        if placement.digest in self.shut:
            await self.opens.wait()
        loaded = await self._load(placement, make_room)
        self.loaded.append(placement.digest)
        return loaded

    def router(self, **settings: Any) -> Router:
        return new_router(self, **settings)


async def factor(router: Router, name: str | None, wanted: str | None = None) -> float:
    """By how much the version behind the name multiplies."""
    return float((await asked(found(router, name, wanted), ones()))[0, 0])


async def loaded(router: Router, name: str, wanted: str | None = None) -> float:
    """The same, coming back as often as a caller is told to."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await factor(router, name, wanted)
            except Loading:
                await asyncio.sleep(0.005)


async def settled(router: Router, one: Deployment) -> str:
    async with asyncio.timeout(WAIT_S):
        while router.status(one) == "loading":
            await asyncio.sleep(0.005)
    return router.status(one)

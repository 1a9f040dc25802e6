"""Deployment name → loaded version. Control publishes a snapshot; the router loads what is called and lets go of the rest.

A version is loaded once for every deployment that asks for the same (`Placement`). While a name is switched to another
version, the old one answers until the new one is warm. What nobody calls is unloaded, and loaded again at its next call: the
caller is told to come back in a moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.replica import Restart, plan_restart
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import ANONYMOUS_KEY_ID, Principal
from modeltap.errors import Broken, Loading, ModeltapError, NotFound, Unauthenticated, Unavailable
from modeltap.serving.loading import Loaded, MakeRoom, Placement, Served, placement_of
from modeltap.serving.residency import Resident, plan_unloading

EAGER = 8
"""So many versions that are new in a snapshot are loaded before their first call, those whose deployment changed last."""
RETRY_S = 1.0
"""A caller whose version is being loaded is told to come back after it."""
SWEEP_S = 10.0
DRAIN_STEP_S = 0.01
LONGEST_NAME = 200
"""Of what a request named and does not exist, in the answer that says so."""

Status = Literal["ready", "loading", "failed", "unloaded"]
"""unloaded: it is loaded at its next call."""
Load = Callable[[Placement, MakeRoom], Awaitable[Loaded]]
Name = tuple[str, str]
"""Tenant and deployment."""

_log = logging.getLogger(__name__)


class _Failure(NamedTuple):
    problem: ModeltapError
    restart: Restart
    until_s: float
    """Before it, nobody tries again."""


class Router:
    """Lives on one event loop; `load` is `serving/loading`'s. What a request asks for is found by look-ups in dictionaries."""

    def __init__(
        self,
        load: Load,
        *,
        model_memory_bytes: int,
        unload_after_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._limit_bytes = model_memory_bytes
        self._unload_after_s = unload_after_s
        self._clock = clock
        self._snapshot = DeploymentSnapshot()
        self.era = 0
        """Another one whenever a name may lead elsewhere."""
        self._defaults: dict[str, Deployment] = {}
        self._public: dict[str | None, Deployment] = {}
        self._wanted: dict[Name, Placement] = {}
        self._used: dict[Placement, int] = {}
        """Every placement that the snapshot names, and the longest deadline of those who do, in milliseconds."""
        self._serving: dict[Name, Served] = {}
        self._loaded: dict[Placement, Loaded] = {}
        self._loading: dict[Placement, asyncio.Task[None]] = {}
        self._reserved: dict[Placement, int] = {}
        """Bytes that are being loaded."""
        self._failures: dict[Placement, _Failure] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._is_closed = False

    # What a request asks.

    def deployment(self, principal: Principal, name: str | None) -> Deployment:
        """The deployment that this caller means. Raises NotFound, saying what there is, or Unauthenticated without a key."""
        if principal.key == ANONYMOUS_KEY_ID:
            public = self._public.get(name)
            if public is None:
                raise Unauthenticated("no key was sent, and nothing of that name is public; pass 'Authorization: Bearer KEY'")
            return public
        if name is None:
            found = self._defaults.get(principal.tenant)
        else:
            found = self._snapshot.deployments.get(principal.tenant, {}).get(name)
        if found is not None:
            return found
        return self._snapshot.find(principal.tenant, None if name is None else name[:LONGEST_NAME], models=principal.models)

    def version(self, deployment: Deployment, wanted: str | None) -> Served:
        """The loaded version that answers: the one asked for, or the deployment's own. While that is loaded, the one before.

        Raises NotFound for a version that it does not route to; Loading, and has it loaded; Unavailable if that failed.
        """
        version = self._serving.get((deployment.tenant, deployment.name))
        if version is not None and (wanted is None or _number(version) == wanted):
            return version
        route = _route(deployment, wanted)
        placement = placement_of(route, deployment.terms)
        loaded = self._loaded.get(placement)
        if loaded is not None:
            return loaded.version
        now_s = self._clock()
        failure = self._failures.get(placement)
        if failure is not None and now_s < failure.until_s:
            raise Unavailable(
                f"'{deployment.name}' could not be loaded: {failure.problem.message}", retry_after_s=failure.until_s - now_s
            )
        if self._is_closed:
            raise Unavailable("the server is about to end")
        if placement not in self._used:
            raise Unavailable(f"'{deployment.name}' was changed or removed meanwhile; try again")
        self._begin(placement, must=False)
        raise Loading(f"'{deployment.name}' is being loaded; try again in a second", retry_after_s=RETRY_S)

    # What control asks.

    async def publish(self, snapshot: DeploymentSnapshot) -> None:
        """From now on this snapshot holds. Comes back when what it changed is loaded and served, or has failed."""
        if self._is_closed:
            return
        before, self._snapshot = self._snapshot, snapshot
        self._index(snapshot)
        replaced: list[Placement] = []
        new: list[Deployment] = []
        for tenant, own in snapshot.deployments.items():
            old = before.deployments.get(tenant, {})
            for name, deployment in own.items():
                if deployment == old.get(name):
                    continue
                placement = self._wanted[tenant, name]
                self._failures.pop(placement, None)
                if (tenant, name) in self._serving:
                    replaced.append(placement)
                else:
                    new.append(deployment)
        self._settle()
        new.sort(key=lambda deployment: deployment.updated_at, reverse=True)
        eager = list(dict.fromkeys(placement_of(one.routes[0], one.terms) for one in new))[:EAGER]
        begun = [self._begin(placement, must=True) for placement in replaced if placement not in self._loaded]
        begun += [self._begin(placement, must=False) for placement in eager if placement not in self._loaded]
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep_for_ever())
        if begun:
            await asyncio.wait(begun)

    async def ensure(self, deployment: Deployment) -> None:
        """Comes back when the version of this (published) deployment answers. Raises why it could not be loaded."""
        placement = placement_of(deployment.routes[0], deployment.terms)
        while placement not in self._loaded:
            failure = self._failures.get(placement)
            if failure is not None and placement not in self._loading and not isinstance(failure.problem, Unavailable):
                raise failure.problem
            if self._is_closed or placement not in self._used:
                raise Unavailable(f"'{deployment.name}' is not served any more; it was changed or removed meanwhile")
            await asyncio.wait([self._begin(placement, must=True)])

    def status(self, deployment: Deployment) -> Status:
        """Whether requests to it are answered by the version it names."""
        placement = placement_of(deployment.routes[0], deployment.terms)
        loaded = self._loaded.get(placement)
        if loaded is not None:
            return "ready" if loaded.version.is_ready else "loading"
        if placement in self._loading:
            return "loading"
        return "failed" if placement in self._failures else "unloaded"

    def failure(self, deployment: Deployment) -> str | None:
        """Why its version could not be loaded, if so."""
        failed = self._failures.get(placement_of(deployment.routes[0], deployment.terms))
        return None if failed is None else failed.problem.message

    def deployments(self, tenant: str) -> dict[str, Deployment]:
        """Those of the tenant, by name."""
        return self._snapshot.deployments.get(tenant, {})

    def loaded(self) -> tuple[Loaded, ...]:
        """What is in memory now."""
        return tuple(self._loaded.values())

    def sweep(self) -> None:
        """Unloads what nobody called for too long, and what is over the limit. What a name waits for is tried again."""
        self._unload(need_bytes=0)
        now_s = self._clock()
        for name in self._serving:
            failure = self._failures.get(self._wanted[name])
            if failure is not None and now_s >= failure.until_s:
                self._begin(self._wanted[name], must=True)

    async def close(self) -> None:
        """No engine is left, after what ran and waited was answered."""
        self._is_closed = True
        stopped = [*self._loading.values(), *([self._sweeping] if self._sweeping is not None else [])]
        for task in stopped:
            task.cancel()
        if stopped:
            await asyncio.wait(stopped)
        self._snapshot = DeploymentSnapshot()
        self._index(self._snapshot)
        self._settle()
        if self._closing:
            await asyncio.wait(self._closing)

    # What is loaded, and what is not any more.

    def _index(self, snapshot: DeploymentSnapshot) -> None:
        self.era += 1
        self._defaults, self._public, self._wanted, self._used = {}, {}, {}, {}
        for tenant, own in snapshot.deployments.items():
            marked = [d for d in own.values() if d.is_default] or list(own.values())
            if len(marked) == 1:
                self._defaults[tenant] = marked[0]
            for name, deployment in own.items():
                self._wanted[tenant, name] = placement_of(deployment.routes[0], deployment.terms)
                if deployment.terms.is_public:
                    self._public.setdefault(name, deployment)
                for route in deployment.routes:
                    placement = placement_of(route, deployment.terms)
                    self._used[placement] = max(self._used.get(placement, 0), deployment.terms.rows_within_ms)
        public = snapshot.find_public(None)
        if public is not None:
            self._public[None] = public

    def _settle(self) -> None:
        """Names lead to what is loaded for them, and what no name needs is closed."""
        self.era += 1
        for name in self._serving.keys() - self._wanted.keys():
            del self._serving[name]
        for placement in self._failures.keys() - self._used.keys():
            del self._failures[placement]
        for name, placement in self._wanted.items():
            loaded = self._loaded.get(placement)
            if loaded is not None:
                self._serving[name] = loaded.version
        needed = {id(version) for version in self._serving.values()}
        for placement, loaded in list(self._loaded.items()):
            if placement in self._used:
                loaded.fleet.allow_deadline(self._used[placement] / 1000)
            elif id(loaded.version) not in needed:
                self._let_go(placement)

    def _begin(self, placement: Placement, *, must: bool) -> asyncio.Task[None]:
        """The loading of it, begun now if it is not under way. What must be loaded is, also over the limit of memory."""
        task = self._loading.get(placement)
        if task is None:
            task = self._loading[placement] = asyncio.create_task(self._bring(placement, must=must))
        return task

    async def _bring(self, placement: Placement, *, must: bool) -> None:
        """The placement is among the loaded or the failed ones, or was given up. Raises nothing."""

        def make_room(need_bytes: int) -> None:
            self._make_room(placement, need_bytes, must=must)

        try:
            loaded = await self._load(placement, make_room)
            loaded.loaded_s = loaded.version.last_used_s = self._clock()
            self._loaded[placement] = loaded
            self._failures.pop(placement, None)
        except ModeltapError as problem:
            self._fail(placement, problem)
        except Exception:  # noqa: BLE001  one version that cannot be loaded must not keep the others from it
            _log.exception("%s could not be loaded", placement.model_id)
            self._fail(placement, Broken("the server's log has the reason"))
        finally:
            del self._loading[placement]
            self._reserved.pop(placement, None)
        self._settle()
        self._unload(need_bytes=0)

    def _fail(self, placement: Placement, problem: ModeltapError) -> None:
        last = self._failures.get(placement)
        restart = Restart() if last is None else last.restart
        if not isinstance(problem, Unavailable):  # a version for which there was no room is no worse for it
            restart = plan_restart(restart, 0.0)
        self._failures[placement] = _Failure(problem, restart, self._clock() + max(RETRY_S, restart.pause_s))
        _log.warning("%s could not be loaded: %s", placement.model_id, problem.message)

    def _make_room(self, placement: Placement, need_bytes: int, *, must: bool) -> None:
        """Unloads what may go so that this fits. Raises Unavailable if that is not enough, unless it must be loaded."""
        self._unload(need_bytes=need_bytes)
        held_bytes = self._held_bytes()
        if held_bytes and held_bytes + need_bytes > self._limit_bytes and not must:
            raise Unavailable(
                f"it takes {need_bytes:,} bytes, and of the {self._limit_bytes:,} for models {held_bytes:,} are in use; try"
                " again later, or raise MODELTAP_MODEL_MEMORY_BYTES"
            )
        self._reserved[placement] = need_bytes

    def _held_bytes(self) -> int:
        return sum(loaded.memory_bytes for loaded in self._loaded.values()) + sum(self._reserved.values())

    def _unload(self, *, need_bytes: int) -> None:
        switching = {id(v) for name, v in self._serving.items() if self._wanted[name] not in self._loaded}
        residents = [
            (
                placement,
                Resident(
                    loaded.memory_bytes,
                    loaded.loaded_s,
                    loaded.version.last_used_s,
                    loaded.version.in_flight > 0 or id(loaded.version) in switching,
                ),
            )
            for placement, loaded in self._loaded.items()
        ]
        for placement in plan_unloading(
            residents,
            now_s=self._clock(),
            limit_bytes=self._limit_bytes,
            need_bytes=need_bytes + sum(self._reserved.values()),
            unload_after_s=self._unload_after_s,
        ):
            _log.info("%s is unloaded until its next call", placement.model_id)
            self._let_go(placement)

    def _let_go(self, placement: Placement) -> None:
        """New calls do not reach it any more; it is closed after those that did."""
        self.era += 1
        loaded = self._loaded.pop(placement)
        for name in [name for name, version in self._serving.items() if version is loaded.version]:
            del self._serving[name]
        task = asyncio.create_task(_close(loaded))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _sweep_for_ever(self) -> None:
        pause_s = SWEEP_S if self._unload_after_s is None else min(SWEEP_S, self._unload_after_s / 2)
        while True:
            await asyncio.sleep(pause_s)
            self.sweep()


async def _close(loaded: Loaded) -> None:
    for _ in range(int(loaded.drain_s / DRAIN_STEP_S)):
        if not loaded.version.in_flight:
            break
        await asyncio.sleep(DRAIN_STEP_S)
    await loaded.fleet.close()


def _number(version: Served) -> str:
    return version.model_id.rpartition("@")[2]


def _route(deployment: Deployment, wanted: str | None) -> Route:
    """The route to that version; without one, the first. Raises NotFound."""
    if wanted is None:
        return deployment.routes[0]
    for route in deployment.routes:
        if str(route.version) == wanted:
            return route
    served = ", ".join(str(route.version) for route in deployment.routes)
    raise NotFound(f"'{deployment.name}' does not lead to version '{wanted[:LONGEST_NAME]}'; it leads to {served}")

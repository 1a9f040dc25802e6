"""The data plane of one process: guard, router, plane, and the doors of its protocols."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from modeltap.api.activity import Activity
from modeltap.api.door import Door
from modeltap.api.explain import ExplainPlane
from modeltap.api.guard import Guard
from modeltap.api.hot import HotPath
from modeltap.api.inference import InferencePlane
from modeltap.api.memory_regions import MemoryRegions
from modeltap.api.openai.dispatch import Dispatch
from modeltap.api.openai.routes import model_routes
from modeltap.api.predict import PredictPlane
from modeltap.api.replays import Answers, Replays
from modeltap.api.request_id import request_id_of
from modeltap.api.watch import Watch
from modeltap.serving.call import Call
from modeltap.serving.explaining import Bounds, Explaining
from modeltap.serving.limits import LimitKeeper
from modeltap.serving.loading import Loader
from modeltap.serving.plane import Plane
from modeltap.serving.router import Router
from modeltap.serving.upstream import Upstreams
from modeltap.settings import Settings
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.claims import Claims
from modeltap.storage.segments import USAGE_FOLDER
from modeltap.storage.shared_memory import REGIONS_FILE, SharedMemory
from modeltap.wiring.listening import may_share_memory
from modeltap.wiring.metering import Metering

if TYPE_CHECKING:
    from modeltap.domain.snapshot import DeploymentSnapshot


class DataSide:
    """Made on the event loop that serves."""

    def __init__(
        self,
        settings: Settings,
        artifacts: ArtifactStore,
        limits: LimitKeeper,
        metering: Metering,
        answers: Answers,
        watch: Watch,
        *,
        admin_key: str,
        pepper: bytes,
        wall: Callable[[], float],
    ) -> None:
        self.activity = Activity()
        self.guard = Guard(admin_key, pepper, clock=wall)
        upstreams = Upstreams(settings.home, hosts=settings.upstream_hosts, programs=settings.upstream_programs)
        loader = Loader(artifacts.paths, observe=watch.batch, observe_text=watch.text, upstreams=upstreams)
        self.router = Router(
            loader.load, model_memory_bytes=settings.model_memory_bytes, unload_after_s=settings.unload_after_s
        )
        self.plane = Plane(self.router, limits, metering.meter, metering.commit, wall=wall)
        predict = PredictPlane(self.plane, max_body_bytes=settings.max_body_bytes)
        self.regions = MemoryRegions(SharedMemory(settings.home / REGIONS_FILE) if may_share_memory(settings) else None)
        inference = InferencePlane(self.plane, self.regions, max_body_bytes=settings.max_body_bytes)
        bounds = Bounds(settings.explain_max_rows, settings.explain_max_instances, settings.explain_deadline_s)
        explaining = Explaining(self.plane, limits, metering.meter, artifacts.paths, bounds, wall=wall)
        explain = ExplainPlane(self.plane, explaining, max_body_bytes=settings.max_body_bytes)
        claims = Claims(settings.home / USAGE_FOLDER / "claims")
        replays = Replays(answers, claims, self.plane, max_body_bytes=settings.max_body_bytes)
        self.openai = Dispatch(model_routes(self.plane, max_body_bytes=settings.max_body_bytes))
        self.door = Door(
            self.guard, self.plane, replays, watch, predict=predict, explain=explain, inference=inference, openai=self.openai
        )
        self.hot = HotPath(self.guard, self.plane, self.activity, watch, predict=predict, inference=inference)

    def open_call(self, presented: str | None, request_id: str | None, peer: str) -> Call:
        """A call that came by gRPC. Raises Unauthenticated."""
        principal = self.guard.principal(presented)
        return Call(principal, request_id_of(request_id), started_s=time.monotonic(), peer=peer)

    async def publish(self, snapshot: DeploymentSnapshot) -> None:
        """Keys hold at once; deployments when they are loaded."""
        self.guard.publish(snapshot)
        await self.router.publish(snapshot)

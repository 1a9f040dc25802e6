"""What a serving process counts of itself beside its requests: queues, replicas, models, jobs, usage, memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from modeltap import __version__
from modeltap.api.activity import Activity
from modeltap.api.watch import Watch
from modeltap.batching.queue import BatchQueue
from modeltap.serving.language import LanguageVersion
from modeltap.serving.router import Router
from modeltap.serving.version import Version
from modeltap.storage.database import Database
from modeltap.storage.jobs import JobQueue
from modeltap.telemetry.logs import CallLog
from modeltap.telemetry.metrics import Metrics
from modeltap.telemetry.process import watch_process
from modeltap.telemetry.series import Labels
from modeltap.telemetry.tracing import Tracing, open_tracing

Read = Iterable[tuple[Labels, float]]


class Watching:
    """Made once a process, before it serves. Raises MissingExtra where traces are asked for and not installed."""

    def __init__(self, process: str, wall: Callable[[], float]) -> None:
        self.metrics = Metrics(process, version=__version__)
        self.tracing: Tracing | None = open_tracing(os.environ, process=process, version=__version__)
        self.watch = Watch(self.metrics, CallLog(), self.tracing, wall=wall)
        watch_process(self.metrics)

    def of_data(
        self, router: Router, activity: Activity, num_connections: Callable[[], int], num_records: Callable[[], int]
    ) -> None:
        """From now on the numbers hold those of the data plane."""
        metrics = self.metrics
        metrics.add_gauge("modeltap_in_flight_requests", lambda: [((), activity.in_flight)])
        metrics.add_gauge("modeltap_open_connections", lambda: [((), num_connections())])
        metrics.add_counter("modeltap_usage_records_total", lambda: [((), num_records())])

        metrics.add_gauge("modeltap_queue_entries", lambda: _queued(router, lambda queue: queue.waiting_entries))
        metrics.add_gauge("modeltap_queue_rows", lambda: _queued(router, lambda queue: queue.waiting_rows))
        metrics.add_gauge("modeltap_open_texts", lambda: _texts(router))
        metrics.add_gauge("modeltap_loaded_model_bytes", lambda: [((), sum(m.memory_bytes for m in router.loaded()))])
        metrics.add_gauge("modeltap_replicas", lambda: _replicas(router))
        metrics.add_counter("modeltap_replica_restarts_total", lambda: _restarts(router))

    def of_home(self, database: Database, lag_bytes: Callable[[], int]) -> None:
        """From now on the numbers hold those that a home has once."""
        queue = JobQueue(database)
        self.metrics.add_gauge("modeltap_jobs", queue.counted)
        self.metrics.add_gauge("modeltap_usage_ingest_lag_bytes", lambda: [((), lag_bytes())])


def _queued(router: Router, of: Callable[[BatchQueue], int]) -> Read:
    versions = [loaded.version for loaded in router.loaded()]
    return [((one.model_id,), of(one.lane.queue)) for one in versions if isinstance(one, Version)]


def _texts(router: Router) -> Read:
    versions = [loaded.version for loaded in router.loaded()]
    return [((one.model_id,), one.num_texts) for one in versions if isinstance(one, LanguageVersion)]


def _replicas(router: Router) -> Read:
    return [((loaded.version.model_id, state), 1) for loaded in router.loaded() for state in loaded.fleet.states().values()]


def _restarts(router: Router) -> Read:
    return [((loaded.version.model_id,), loaded.fleet.num_restarts) for loaded in router.loaded()]

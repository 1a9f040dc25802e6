"""The numbers of one process. What is counted for every request costs about a microsecond; the rest is read when somebody asks.

metrics.observe_call(…)                          on the event loop, once a request
metrics.add_gauge("modeltap_jobs", count_jobs)   read at collection
metrics.dump()                                   for `scrape.Scrape`, in this process or in the parent
"""

from __future__ import annotations

import logging
import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterable

import msgspec

from modeltap.errors import ModeltapError
from modeltap.telemetry.catalogue import GAPS_S, LAG_S, LATENCY_S, METRICS, ROWS, Kind
from modeltap.telemetry.dump import Dump
from modeltap.telemetry.series import Labels, Series, Values

_log = logging.getLogger(__name__)
Read = Callable[[], Iterable[tuple[Labels, float]]]
"""Values by the labels of the metric, in the catalogue's order; several of the same labels are added."""

_Answered = tuple[Values, Values, Values, Values]
_COUNTED = (
    "modeltap_requests_total",
    "modeltap_units_total",
    "modeltap_request_duration_seconds",
    "modeltap_request_queue_seconds",
    "modeltap_request_compute_seconds",
    "modeltap_refusals_total",
    "modeltap_batch_rows",
    "modeltap_engine_run_seconds",
    "modeltap_loop_lag_seconds",
    "modeltap_prompt_tokens_total",
    "modeltap_completion_tokens_total",
    "modeltap_first_token_seconds",
    "modeltap_token_gap_seconds",
)


class Metrics:
    """Made once a process. `observe_…` are for one thread, the event loop's; `dump` may run in another at the same time."""

    def __init__(self, process: str, *, version: str) -> None:
        """`process` names it among those of the server: `server` if it is alone, else `parent` or `worker-1`. The version is
        that of modeltap."""
        self.process = process
        self._born = secrets.token_hex(8)
        self._read: list[tuple[str, Read]] = []
        series = {name: Series(METRICS[name]) for name in _COUNTED}
        self._counted = series
        self._requests, self._units, self._totals, self._queues, self._computes, self._refusals = list(series.values())[:6]
        self._sizes, self._runs = series["modeltap_batch_rows"], series["modeltap_engine_run_seconds"]
        self._prompt_tokens, self._completion_tokens, self._first_tokens, self._gaps = list(series.values())[-4:]
        self._lags = series["modeltap_loop_lag_seconds"].cell(())
        self._calls: dict[tuple[str, str, str, int], tuple[Values, _Answered | None]] = {}
        self._batches: dict[str, tuple[Values, Values]] = {}
        self.add_gauge("modeltap_processes", lambda: [((), 1)])
        self.add_gauge("modeltap_build_info", lambda: [((version,), 1)])

    def observe_call(
        self,
        deployment: str,
        model: str,
        protocol: str,
        status: int,
        total_s: float,
        queue_s: float,
        compute_s: float,
        units: int,
    ) -> None:
        """One request was answered. Units and times count for a status below 400 alone.

        deployment: one that exists, or '' where none was reached; never what a client made up. model: name@version, or ''.
        protocol: the dialect, as predict, inference, grpc. status: that of HTTP, also for other protocols.
        """
        try:
            requests, answered = self._calls[deployment, model, protocol, status]
        except KeyError:
            requests, answered = self._new_call(deployment, model, protocol, status)
        requests[0] += 1
        if answered is None:
            return
        unit, total, queue, compute = answered
        unit[0] += units
        total[bisect_left(LATENCY_S, total_s)] += 1
        total[-1] += total_s
        queue[bisect_left(LATENCY_S, queue_s)] += 1
        queue[-1] += queue_s
        compute[bisect_left(LATENCY_S, compute_s)] += 1
        compute[-1] += compute_s

    def observe_refusal(self, deployment: str, reason: str) -> None:
        """A request ended in the error of that code, at the door or later."""
        self._refusals.cell((deployment, reason))[0] += 1

    def observe_batch(self, model: str, rows: int, run_s: float) -> None:
        """An engine ran so many rows together."""
        try:
            sizes, runs = self._batches[model]
        except KeyError:
            sizes, runs = self._new_batch(model)
        sizes[bisect_left(ROWS, rows)] += 1
        sizes[-1] += rows
        runs[bisect_left(LATENCY_S, run_s)] += 1
        runs[-1] += run_s

    def observe_text(
        self, model: str, prompt_tokens: int, completion_tokens: int, first_token_s: float, token_gap_s: float | None
    ) -> None:
        """A language model answered a call. The gap is that between two tokens on average, None where one came."""
        labels = (model,)
        self._prompt_tokens.cell(labels)[0] += prompt_tokens
        self._completion_tokens.cell(labels)[0] += completion_tokens
        first = self._first_tokens.cell(labels)
        first[bisect_left(LATENCY_S, first_token_s)] += 1
        first[-1] += first_token_s
        if token_gap_s is not None:
            gaps = self._gaps.cell(labels)
            gaps[bisect_left(GAPS_S, token_gap_s)] += 1
            gaps[-1] += token_gap_s

    def observe_lag(self, lag_s: float) -> None:
        """The event loop came so much later than planned."""
        self._lags[bisect_left(LAG_S, lag_s)] += 1
        self._lags[-1] += lag_s

    def add_gauge(self, name: str, read: Read) -> None:
        """Whenever the numbers are collected, `read` says what they are. One that raises a named error, or OSError, is left out
        of that collection. Raises ValueError for a name that is not in the catalogue, or no gauge."""
        self._add(name, "gauge", read)

    def add_counter(self, name: str, read: Read) -> None:
        """The same for what is counted elsewhere and only grows while this process lives."""
        self._add(name, "counter", read)

    def dump(self) -> bytes:
        """Everything of this process, as msgpack. May wait for what the gauges read."""
        read: dict[str, Series | None] = {}
        for name, source in self._read:
            series = read.setdefault(name, Series(METRICS[name]))
            if series is None:
                continue
            try:
                for labels, value in source():
                    series.add(labels, [value])
            except (ModeltapError, OSError) as problem:
                _log.warning("%s could not be read: %s", name, problem)
                read[name] = None
        # A copy is made at once; requests go on while what it holds is written.
        shown = self._counted | {name: series for name, series in read.items() if series is not None}
        numbers = {name: list(series.cells.copy().items()) for name, series in shown.items()}
        return msgspec.msgpack.encode(Dump(self.process, self._born, numbers))

    def _add(self, name: str, kind: Kind, read: Read) -> None:
        if name not in METRICS or METRICS[name].kind != kind or name in _COUNTED:
            raise ValueError(f"'{name}' is no {kind} of telemetry/catalogue.py that is read at collection")
        self._read.append((name, read))

    def _new_call(self, deployment: str, model: str, protocol: str, status: int) -> tuple[Values, _Answered | None]:
        labels = (deployment, model, protocol, str(status))
        answered = None
        if status < 400:
            answered = (
                self._units.cell((deployment, model)),
                self._totals.cell((deployment,)),
                self._queues.cell((deployment,)),
                self._computes.cell((deployment,)),
            )
        cells = (self._requests.cell(labels), answered)
        if self._requests.admitted(labels) == labels:
            self._calls[deployment, model, protocol, status] = cells
        return cells

    def _new_batch(self, model: str) -> tuple[Values, Values]:
        cells = (self._sizes.cell((model,)), self._runs.cell((model,)))
        if self._sizes.admitted((model,)) == (model,):
            self._batches[model] = cells
        return cells

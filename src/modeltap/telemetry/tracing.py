"""Traces through OpenTelemetry, as its standard OTEL_… variables ask for them; without them nothing of it is loaded.

tracing = open_tracing(process=…, version=…)        None where nobody asks
trace = tracing.begin(operation, at_s, traceparent) as a request arrives; `trace.traceparent` belongs into the answer
tracing.record(trace, call)                         once it was answered: a span for it, and one for each part of it
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from modeltap.errors import InvalidInput, MissingExtra
from modeltap.telemetry.ended_call import EndedCall

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

EXPORTERS = ("otlp", "none")
PROTOCOL = "http/protobuf"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
MAX_HEADER_CHARS = 512
"""Of a traceparent or tracestate; a longer one is passed over without a word."""
CLOSE_S = 3.0
"""Longest wait for a collector that does not take the last spans."""


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces: an endpoint is set, or OTEL_TRACES_EXPORTER is otlp.

    Raises InvalidInput for an exporter or a protocol that is not spoken here.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter and exporter not in EXPORTERS:
        raise InvalidInput(f"OTEL_TRACES_EXPORTER is '{exporter}'; allowed: {', '.join(EXPORTERS)}")
    if exporter == "none" or not (exporter or any(environment.get(name) for name in ENDPOINTS)):
        return False
    for name in PROTOCOLS:
        protocol = environment.get(name, "").strip().lower()
        if protocol:
            if protocol != PROTOCOL:
                raise InvalidInput(f"{name} is '{protocol}'; allowed: {PROTOCOL}, which collectors take on port 4318")
            break
    return True


def open_tracing(environment: Mapping[str, str] = os.environ, *, process: str, version: str) -> Tracing | None:
    """The exporter, if `environment` asks for it; its details it reads from the process's own variables.

    Raises MissingExtra where OpenTelemetry is not installed, InvalidInput for values that it does not take.
    """
    if not wants_traces(environment):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingExtra(what="OpenTelemetry, which the OTEL_… variables ask for,", extra="otel") from None
    own = Resource({"service.name": "modeltap", "service.version": version, "modeltap.process": process})
    try:
        provider = TracerProvider(
            resource=Resource.create({}).merge(own).merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as problem:
        raise InvalidInput(f"an OTEL_… variable has a value that OpenTelemetry does not take: {problem}") from None
    return Tracing(provider)


class Trace:
    """The place of one request in a trace."""

    __slots__ = ("span", "start_ns", "traceparent")

    def __init__(self, span: Span, start_ns: int) -> None:
        place = span.get_span_context()
        self.span = span
        self.start_ns = start_ns
        self.traceparent = f"00-{place.trace_id:032x}-{place.span_id:016x}-{int(place.trace_flags):02x}"
        """Of the answer, and of what is called on the request's behalf (W3C trace context)."""


class Tracing:
    """Spans wait in memory for a thread of OpenTelemetry that sends them; a collector that is away costs spans alone."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._provider = provider
        self._tracer = provider.get_tracer("modeltap")
        self._propagator = TraceContextTextMapPropagator()
        self._nowhere = Context()

    def begin(
        self, operation: str, started_at_s: float, traceparent: str | None = None, tracestate: str | None = None
    ) -> Trace:
        """The request's place: in the caller's trace, or in a new one. Whether it is recorded, the sampler decides now.

        operation: one of few, without names in it, as `POST /predict`. started_at_s: UTC seconds since 1970.
        """
        start_ns = round(started_at_s * 1e9)
        context = self._context(traceparent, tracestate)
        return Trace(self._tracer.start_span(operation, context, kind=self._api.SpanKind.SERVER, start_time=start_ns), start_ns)

    def record(self, trace: Trace, call: EndedCall) -> None:
        """Makes the spans of a request that was answered, from the times that were measured; nothing if it is not recorded."""
        span = trace.span
        if not span.is_recording():
            return
        span.set_attributes(
            {
                "http.response.status_code": call.status,
                "modeltap.request_id": call.request_id,
                "modeltap.deployment": call.deployment,
                "modeltap.model": call.model,
                "modeltap.rows": call.rows,
            }
        )
        if call.code:
            span.set_attribute("error.type", call.code)
        if call.status >= 500:
            span.set_status(self._api.StatusCode.ERROR)
        end_ns = trace.start_ns + round(call.total_s * 1e9)
        within = self._api.set_span_in_context(span)
        at_ns = trace.start_ns
        for part, length_s in (("parse", call.parse_s), ("queue", call.queue_s), ("compute", call.compute_s)):
            if length_s > 0:
                part_ns = round(length_s * 1e9)
                self._tracer.start_span(part, within, start_time=at_ns).end(at_ns + part_ns)
                at_ns += part_ns
        if call.encode_s > 0:
            self._tracer.start_span("encode", within, start_time=end_ns - round(call.encode_s * 1e9)).end(end_ns)
        span.end(end_ns)

    def close(self) -> None:
        """Sends what waits; gives up on a collector that takes longer than three seconds."""
        ending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(CLOSE_S)

    def _context(self, traceparent: str | None, tracestate: str | None) -> Context | None:
        if not traceparent or len(traceparent) > MAX_HEADER_CHARS:
            return self._nowhere
        carrier = {"traceparent": traceparent}
        if tracestate and len(tracestate) <= MAX_HEADER_CHARS:
            carrier["tracestate"] = tracestate
        return self._propagator.extract(carrier, self._nowhere)

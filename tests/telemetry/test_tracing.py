"""A collector that takes OTLP gets a request's spans: in the caller's trace, with the times that were measured, no payload."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from checkout import read, section, table
from otlp_collector import Collector, open_collector

from modeltap.errors import InvalidInput, MissingExtra
from modeltap.telemetry.ended_call import EndedCall
from modeltap.telemetry.tracing import Tracing, open_tracing, wants_traces

AT_S = 1_750_000_000.5
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with open_collector() as opened:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", opened.url)
        yield opened


def open_here() -> Tracing:
    tracing = open_tracing(process="worker-1", version="1.2.3")
    assert tracing is not None
    return tracing


def call(**changes) -> EndedCall:
    facts = {
        "operation": "POST /predict",
        "request_id": "req-1",
        "deployment": "wine",
        "model": "wine@3",
        "status": 200,
        "rows": 4,
        "total_s": 0.010,
        "parse_s": 0.001,
        "queue_s": 0.002,
        "compute_s": 0.004,
        "encode_s": 0.0005,
    }
    return EndedCall(**facts | changes)


def test_a_request_is_one_span_in_the_callers_trace_with_its_parts_below(collector):
    tracing = open_here()
    trace = tracing.begin("POST /predict", AT_S, CALLER)
    tracing.record(trace, call())
    tracing.close()
    root = collector.span("POST /predict")
    assert (root.trace_id, root.parent_id, root.kind) == (TRACE, "b7ad6b7169203331", 2)
    assert trace.traceparent == f"00-{TRACE}-{root.span_id}-01"
    assert root.attributes == {
        "http.response.status_code": 200,
        "modeltap.request_id": "req-1",
        "modeltap.deployment": "wine",
        "modeltap.model": "wine@3",
        "modeltap.rows": 4,
    }
    assert not root.failed
    start_ns = round(AT_S * 1e9)
    assert (root.start_ns, root.end_ns) == (start_ns, start_ns + 10_000_000)
    parts = {name: collector.span(name) for name in ("parse", "queue", "compute", "encode")}
    assert len(collector.spans) == 5
    assert {(part.trace_id, part.parent_id) for part in parts.values()} == {(TRACE, root.span_id)}
    assert {name: (part.start_ns - start_ns, part.end_ns - start_ns) for name, part in parts.items()} == {
        "parse": (0, 1_000_000),
        "queue": (1_000_000, 3_000_000),
        "compute": (3_000_000, 7_000_000),
        "encode": (9_500_000, 10_000_000),
    }


def test_a_failed_request_names_its_error_and_has_no_parts_that_it_never_came_to(collector):
    tracing = open_here()
    trace = tracing.begin("POST /predict", AT_S)
    tracing.record(trace, call(status=503, code="server_is_overloaded", queue_s=0.0, compute_s=0.0, encode_s=0.0))
    refused = tracing.begin("POST /v2/models/infer", AT_S)
    tracing.record(refused, call(status=422, code="invalid_value", parse_s=0.0, queue_s=0.0, compute_s=0.0, encode_s=0.0))
    tracing.close()
    failed = collector.span("POST /predict")
    assert failed.failed
    assert failed.attributes["error.type"] == "server_is_overloaded"
    assert failed.parent_id == ""
    assert sorted(span.name for span in collector.spans) == ["POST /predict", "POST /v2/models/infer", "parse"]
    assert not collector.span("POST /v2/models/infer").failed, "the caller's mistake is no failure of the server"


def test_service_headers_and_compression_are_taken_from_the_standard_variables(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tap-of-berlin")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20for-the-collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    tracing = open_here()
    tracing.record(tracing.begin("POST /predict", AT_S), call())
    tracing.close()
    assert collector.paths == ["/v1/traces"]
    assert collector.headers[0]["authorization"] == "Bearer for-the-collector"
    assert collector.headers[0]["content-encoding"] == "gzip"
    assert collector.resource["service.name"] == "tap-of-berlin"
    assert collector.resource["deployment.environment.name"] == "staging"
    assert collector.resource["service.version"] == "1.2.3"
    assert collector.resource["modeltap.process"] == "worker-1"


def test_without_a_name_the_service_is_modeltap(collector):
    tracing = open_here()
    tracing.record(tracing.begin("POST /predict", AT_S), call())
    tracing.close()
    assert collector.resource["service.name"] == "modeltap"


@pytest.mark.parametrize(
    ("sampler", "argument", "caller", "recorded"),
    [
        ("always_off", "", CALLER, False),
        ("parentbased_always_on", "", f"{CALLER[:-2]}00", False),
        ("parentbased_always_off", "", CALLER, True),
        ("parentbased_traceidratio", "0", None, False),
        ("parentbased_traceidratio", "1", None, True),
    ],
)
def test_the_standard_samplers_decide_what_is_recorded(collector, monkeypatch, sampler, argument, caller, recorded):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument or "1")
    tracing = open_here()
    trace = tracing.begin("POST /predict", AT_S, caller)
    tracing.record(trace, call())
    tracing.close()
    assert len(collector.spans) == (5 if recorded else 0)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", trace.traceparent)
    assert int(trace.traceparent[-2:], 16) & 1 == recorded
    assert (TRACE in trace.traceparent) == (caller is not None), "the caller's trace goes on, recorded or not"


@pytest.mark.parametrize(
    "given", ["", "nonsense", f"00-{'0' * 32}-b7ad6b7169203331-01", CALLER.upper(), CALLER + "-" + "x" * 600]
)
def test_a_traceparent_that_is_none_begins_a_new_trace(collector, given, caplog):
    tracing = open_here()
    trace = tracing.begin("POST /predict", AT_S, given, "vendor=value")
    tracing.record(trace, call())
    tracing.close()
    root = collector.span("POST /predict")
    assert root.parent_id == ""
    assert root.trace_id != TRACE
    assert not caplog.records, "a client cannot fill the log with headers"


def test_spans_hold_the_attributes_that_are_documented_and_no_other(collector):
    tracing = open_here()
    tracing.record(tracing.begin("POST /predict", AT_S, CALLER), call(status=500, code="internal"))
    tracing.close()
    documented = {row[0] for row in table(section(read("docs/watching.md"), "Traces")) if "." in row[0]}
    assert {name for span in collector.spans for name in span.attributes} == documented
    assert {name for name in collector.resource if not name.startswith("telemetry.sdk.")} <= {
        "service.name",
        "service.version",
        "service.instance.id",
        "modeltap.process",
    }


def test_nobody_who_asks_for_traces_is_nobody_who_waits_for_them(collector, monkeypatch):
    for variables in (
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ):
        assert open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} | variables, process="server", version="1") is None
    assert wants_traces({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.url})
    assert wants_traces({"OTEL_TRACES_EXPORTER": "otlp"})
    assert not wants_traces({"OTEL_SERVICE_NAME": "tap"})


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER is 'jaeger'; allowed: otlp, none"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; allowed: http/protobuf",
        ),
    ],
)
def test_what_is_not_spoken_here_is_told_at_the_start(variables, said):
    with pytest.raises(InvalidInput, match=re.escape(said)):
        open_tracing(variables, process="server", version="1")


def test_a_value_that_opentelemetry_does_not_take_is_told_at_the_start(collector, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-5")
    with pytest.raises(InvalidInput, match="OTEL_"):
        open_tracing(process="server", version="1")


def test_where_it_is_not_installed_the_start_says_what_to_install(collector, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'modeltap[otel]'")):
        open_tracing(process="server", version="1")


def test_opentelemetry_is_loaded_only_for_those_who_ask():
    code = (
        "import sys\n"
        "from modeltap.telemetry.tracing import open_tracing\n"
        "assert open_tracing({}, process='server', version='1') is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests', 'google'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""A collector of traces on loopback: takes OTLP over HTTP as a real one does, and keeps the spans that it was sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse


class Span:
    """One span as it came over the wire."""

    def __init__(self, wire: Any) -> None:
        self.name: str = wire.name
        self.trace_id: str = wire.trace_id.hex()
        self.span_id: str = wire.span_id.hex()
        self.parent_id: str = wire.parent_span_id.hex()
        self.kind: int = wire.kind
        self.failed = wire.status.code == 2
        self.start_ns: int = wire.start_time_unix_nano
        self.end_ns: int = wire.end_time_unix_nano
        self.attributes = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in wire.attributes}


class Collector:
    """What arrived: spans, the resource's attributes, the headers of each request, and its bytes."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.content = b""
        self.url = ""

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        content = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        self.paths.append(path)
        self.headers.append(headers)
        self.content += content
        for group in ExportTraceServiceRequest.FromString(content).resource_spans:
            self.resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
            self.spans += [Span(span) for scope in group.scope_spans for span in scope.spans]

    def span(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@contextmanager
def open_collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        server.shutdown()
        serving.join()
        server.server_close()

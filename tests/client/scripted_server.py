"""A real HTTP server that answers by a script and remembers what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import msgspec


@dataclass
class Sent:
    """One request as the server saw it."""

    method: str
    path: str
    params: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Reply:
    """What goes back. `chunks` end the body early where `breaks` says so: fewer bytes than were promised."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    breaks: bool = False


@dataclass
class Scripted:
    url: str
    sent: list[Sent] = field(default_factory=list)


Answerer = Callable[[Sent], Reply]


def json_reply(value: object, status: int = 200) -> Reply:
    return Reply(status, msgspec.json.encode(value))


def problem(status: int, code: str, detail: str, **more: object) -> Reply:
    body = {"type": f"urn:modeltap:{code}", "title": code, "status": status, "detail": detail, "code": code, **more}
    return Reply(status, msgspec.json.encode(body), "application/problem+json")


@contextmanager
def serve(answer: Answerer, *, keep_bodies: bool = True) -> Iterator[Scripted]:
    """The server, answering until the context ends; big bodies may be thrown away as they come."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            body = self._read_body(int(self.headers.get("content-length") or 0))
            sent = Sent(self.command, parts.path, parse_qs(parts.query, keep_blank_values=True), dict(self.headers), body)
            scripted.sent.append(sent)
            reply = answer(sent)
            self.send_response(reply.status)
            self.send_header("content-type", reply.content_type)
            self.send_header("content-length", str(len(reply.body) + (1000 if reply.breaks else 0)))
            self.end_headers()
            self.wfile.write(reply.body)
            self.close_connection = reply.breaks

        def _read_body(self, size_bytes: int) -> bytes:
            if keep_bodies:
                return self.rfile.read(size_bytes)
            while size_bytes > 0:
                size_bytes -= len(self.rfile.read(min(size_bytes, 1 << 16)))
            return b""

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815  names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scripted = Scripted(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield scripted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

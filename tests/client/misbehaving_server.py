"""A server at the level of sockets that refuses, breaks off and dawdles by a script, and remembers what it was sent."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Cut = Literal["", "before", "middle", "never ends"]


@dataclass(frozen=True)
class Asked:
    """One try as the server saw it; names of headers in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Step:
    """What becomes of one try. cut: where the connection breaks; an answer that never ends comes byte by byte."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: Cut = ""


Answers = Mapping[str, Step] | Callable[[Asked], Step]


class Misbehaving:
    """Plays its steps in order, whatever the path, and after the last one answers each path as `answers` says."""

    def __init__(self, steps: tuple[Step, ...], answers: Answers) -> None:
        self._steps = list(steps)
        self._answers = answers
        self._lock = threading.Lock()
        self.url = ""
        self.asked: list[Asked] = []

    def step(self, asked: Asked) -> Step:
        with self._lock:
            self.asked.append(asked)
            if self._steps:
                return self._steps.pop(0)
        if callable(self._answers):
            return self._answers(asked)
        return self._answers.get(asked.path, refused(404, "not_found", f"there is no {asked.path}"))


def refused(status: int, code: str, detail: str, **headers: str) -> Step:
    """A refusal as problem+json; `_` stands for `-` in the names of headers."""
    body = {"type": f"urn:modeltap:{code}", "status": status, "instance": "/predict/x", "code": code, "title": code}
    sent = {"content-type": "application/problem+json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Step(status, msgspec.json.encode({**body, "detail": detail}), sent)


def answered(value: object, **headers: str) -> Step:
    sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Step(200, msgspec.json.encode(value), sent)


@contextmanager
def misbehaving(*steps: Step, answers: Answers | None = None) -> Iterator[Misbehaving]:
    """The server, on a free port, until the context ends."""
    script = Misbehaving(steps, answers or {})
    open_sockets: set[socket.socket] = set()
    ended = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            open_sockets.add(self.connection)
            with suppress(OSError):
                while self._one():
                    pass
            open_sockets.discard(self.connection)

        def _one(self) -> bool:
            """Whether the connection stays open."""
            line = self.rfile.readline().decode("latin-1").split()
            if not line:
                return False
            headers: dict[str, str] = {}
            while head := self.rfile.readline().decode("latin-1").strip():
                name, _, value = head.partition(":")
                headers[name.strip().lower()] = value.strip()
            body = self.rfile.read(int(headers.get("content-length", "0")))
            return self._play(script.step(Asked(line[0], line[1], headers, body)))

        def _play(self, step: Step) -> bool:
            if step.cut == "before":
                return False
            promised = len(step.body) + (1000 if step.cut else 0)
            lines = [f"HTTP/1.1 {step.status} Scripted", f"content-length: {promised}"]
            lines += [f"{name}: {value}" for name, value in step.headers.items()]
            self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + step.body)
            while step.cut == "never ends" and not ended.wait(0.02):
                self.wfile.write(b" ")
            return not step.cut

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = False

    server = Server(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        for connection in list(open_sockets):  # a client that still holds one open waits for nothing any more
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()

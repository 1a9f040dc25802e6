"""How long a connection waits for its client, on a clock that the test moves: nothing is closed too soon, nothing is kept."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from modeltap.api import connection as rules
from modeltap.api.connection import HttpConnection

HEAD = b"POST /api/datasets HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
ASKED = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
STEP_S = 0.5


class Turning:
    """An event loop as a connection uses it; `pass_s` lets time go by."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None], list[bool]]] = []
        self._numbers = itertools.count()
        self.begun: list[Coroutine[Any, Any, None]] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, then: Callable[[], None]) -> Any:
        cancelled = [False]
        heapq.heappush(self._due, (self.now_s + delay_s, next(self._numbers), then, cancelled))

        class Timer:
            def cancel(self) -> None:
                cancelled[0] = True

        return Timer()

    def create_task(self, work: Coroutine[Any, Any, None]) -> Any:
        self.begun.append(work)

        class Task:
            def add_done_callback(self, _then: Any) -> None: ...

        return Task()

    def pass_s(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, then, cancelled = heapq.heappop(self._due)
            if not cancelled[0]:
                then()
        self.now_s = end_s


class Line:
    """A transport to a client that takes only what the test lets it take."""

    def __init__(self) -> None:
        self.unsent_bytes = 0
        self.ended = ""

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def write(self, data: bytes) -> None:
        self.unsent_bytes += len(data)

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.fixture
def turning() -> Iterator[Turning]:
    made = Turning()
    yield made
    for work in made.begun:
        work.close()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def open_connection(turning: Turning, line: Line) -> HttpConnection:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None: ...

    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
    config.load()
    made = HttpConnection(config, ServerState(), {}, _loop=turning)  # type: ignore[arg-type]
    made.connection_made(line)  # type: ignore[arg-type]
    return made


def send_body(connection: HttpConnection, size: int) -> None:
    """So many bytes more, which the application takes at once."""
    connection.data_received(b"a" * size)
    connection.cycle.body.clear()
    connection.flow.resume_reading()


def test_a_head_has_its_time_however_it_drips(turning: Turning, line: Line, open_connection: HttpConnection) -> None:
    for byte in HEAD[:20]:
        open_connection.data_received(bytes([byte]))
        turning.pass_s(0.5)
    assert not line.ended
    turning.pass_s(rules.HEAD_S)
    assert line.ended == "closed"


def test_a_body_may_come_slowly_but_not_drip(turning: Turning, line: Line, open_connection: HttpConnection) -> None:
    open_connection.data_received(HEAD)
    for _ in range(600):
        send_body(open_connection, 300)
        turning.pass_s(STEP_S)
    assert not line.ended, "five minutes for 180 KB"
    for _ in range(round(rules.SILENCE_S / STEP_S) + 30):
        send_body(open_connection, 10)
        turning.pass_s(STEP_S)
    assert line.ended == "closed"


def test_a_pause_in_a_body_is_no_end(turning: Turning, line: Line, open_connection: HttpConnection) -> None:
    open_connection.data_received(HEAD)
    for _ in range(5):
        turning.pass_s(rules.SILENCE_S - 2 * rules.LOOK_EVERY_S)
        send_body(open_connection, 50_000)
    assert not line.ended
    turning.pass_s(rules.SILENCE_S + 2 * rules.LOOK_EVERY_S)
    assert line.ended == "closed"


def test_while_we_work_the_client_has_time(turning: Turning, line: Line, open_connection: HttpConnection) -> None:
    open_connection.data_received(ASKED)
    turning.pass_s(3600)
    assert not line.ended


def test_a_head_begun_behind_a_running_request_waits_with_it(
    turning: Turning, line: Line, open_connection: HttpConnection
) -> None:
    open_connection.data_received(ASKED + HEAD[:20])
    turning.pass_s(10 * rules.HEAD_S)
    assert not line.ended


def test_an_answer_may_be_taken_slowly_but_must_be_taken(turning: Turning, line: Line, open_connection: HttpConnection) -> None:
    open_connection.data_received(ASKED)
    line.write(bytes(1_000_000))
    for _ in range(600):
        line.unsent_bytes -= 300
        turning.pass_s(STEP_S)
    assert not line.ended
    for _ in range(round(rules.SILENCE_S / STEP_S) + 30):
        line.unsent_bytes -= 10
        turning.pass_s(STEP_S)
    assert line.ended == "aborted", "to close would wait for the client"


def test_a_download_that_is_filled_up_again_is_no_standstill(
    turning: Turning, line: Line, open_connection: HttpConnection
) -> None:
    """As much comes as is taken: the transport says each time that it went below its mark."""
    open_connection.data_received(ASKED)
    line.write(bytes(100_000))
    for _ in range(100):
        open_connection.pause_writing()
        open_connection.resume_writing()
        turning.pass_s(rules.LOOK_EVERY_S)
    assert not line.ended
    turning.pass_s(rules.SILENCE_S + 2 * rules.LOOK_EVERY_S)
    assert line.ended == "aborted"


def test_a_connection_that_is_closed_while_nobody_takes_its_end_is_aborted(
    turning: Turning, line: Line, open_connection: HttpConnection
) -> None:
    open_connection.data_received(b"nonsense\r\n\r\n")
    assert line.ended == "closed" and line.unsent_bytes
    turning.pass_s(rules.SILENCE_S + 2 * rules.LOOK_EVERY_S)
    assert line.ended == "aborted"

"""Clients that send or take their bytes one by one, or not at all: others do not notice, and they are not kept for ever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from door_world import (
    INFER,
    PREDICT,
    QUESTION,
    WAIT_S,
    Growth,
    ask,
    chunks,
    connect,
    door_open,
    next_reply,
    number_of,
    p99_s,
    request,
    statuses,
)
from fault_server import FaultServer, until

IMPATIENT = """
from modeltap.api import connection
connection.HEAD_S = connection.SILENCE_S = 1.0
connection.LOOK_EVERY_S = 0.2
"""
"""What takes a quarter of a minute and a whole one otherwise."""
NUM_CLIENTS = 200
BUDGET_S = 0.1
"""Of 99 in 100 calls of /livez while the slow ones are there."""
MANY_ROWS = b'{"instances":[' + b",".join([b"[1,2,3,4]"] * 20_000) + b"]}"
"""Its answer is half a megabyte."""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with door_open(tmp_path_factory.mktemp("impatient"), IMPATIENT) as server:
        yield server


def deaf(server: FaultServer) -> socket.socket:
    """A connection whose client has room for little, and will take nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(WAIT_S)
    connection.connect(server.address)
    return connection


def half_head(server: FaultServer) -> tuple[socket.socket, bytes]:
    return connect(server), request(server)[:-200]


def half_body(server: FaultServer) -> tuple[socket.socket, bytes]:
    return connect(server), request(server, INFER, QUESTION + b" " * 60_000)[:-60_000]


def half_chunks(server: FaultServer) -> tuple[socket.socket, bytes]:
    body = chunks(QUESTION + b" " * 60_000, 1)
    return connect(server), request(server, PREDICT, body, "transfer-encoding: chunked", length=False)[:-60_000]


def unread_answer(server: FaultServer) -> tuple[socket.socket, bytes]:
    return deaf(server), request(server, "/openapi.json", b"", method="GET", length=False, close=False) * 90


KINDS: list[Callable[[FaultServer], tuple[socket.socket, bytes]]] = [half_head, half_body, half_chunks, unread_answer]


@contextmanager
def dripping(connections: list[socket.socket]) -> Iterator[None]:
    """One byte more on each of these, some times a second, as long as they are open."""
    done = threading.Event()

    def drip() -> None:
        while not done.wait(0.1):
            for connection in connections:
                with suppress(OSError):
                    connection.send(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def slow_clients(server: FaultServer, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        connections, dripped = [], []
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            connection, begin = kind(server)
            opened.enter_context(connection)
            connection.sendall(begin)
            connections.append(connection)
            if kind is not unread_answer and number % 8 < 4:
                dripped.append(connection)
        opened.enter_context(dripping(dripped))
        yield connections


def test_two_hundred_of_them_make_nobody_wait(door: FaultServer) -> None:
    with slow_clients(door, NUM_CLIENTS):
        tries = sorted(p99_s(door) for _ in range(3))
        print(f"/livez beside {NUM_CLIENTS} slow clients, p99 of three tries: {[f'{s * 1e3:.1f} ms' for s in tries]}")
        assert tries[1] < BUDGET_S
        for _ in range(20):
            assert ask(door, request(door)).status == 200


def test_they_are_closed_after_their_time(impatient: FaultServer) -> None:
    before = number_of(impatient, "modeltap_open_connections")
    with slow_clients(impatient, NUM_CLIENTS):
        assert ask(impatient, request(impatient)).status == 200
        until("they are closed", lambda: number_of(impatient, "modeltap_open_connections") <= before)
        until("nothing is done for them", lambda: number_of(impatient, "modeltap_in_flight_requests") == 1)
    assert ask(impatient, request(impatient)).status == 200


def test_answers_that_nobody_takes_are_not_piled_up(door: FaultServer) -> None:
    """The refused ones are answered at once, without a task that could wait."""
    refused, answered = request(None, PREDICT, b"{}", close=False), request(door, INFER, close=False)
    for asked in (refused, answered, b"GET /livez HTTP/1.1\r\n\r\n"):
        with Growth(door) as growth, deaf(door) as connection:
            connection.setblocking(False)
            sent, blocked = 0, 0
            while blocked < 20 and sent < 20_000_000:
                try:
                    sent += connection.send(asked * 200)
                    blocked = 0
                except BlockingIOError:
                    blocked += 1
                    threading.Event().wait(0.02)
                except ConnectionError:
                    break
        assert growth.megabytes < 60
        assert statuses_of_one(door) == [200]


def statuses_of_one(server: FaultServer) -> list[int]:
    with connect(server) as connection:
        connection.sendall(request(server))
        return [next_reply(connection).status]


def test_blank_lines_keep_no_connection(impatient: FaultServer) -> None:
    """They are no head, which is due in its time, behind an answer too."""
    for first in (b"", request(impatient, close=False), b"GET /livez HTTP/1.1\r\n\r\n"):
        with connect(impatient) as connection:
            if first:
                connection.sendall(first)
                assert next_reply(connection).status == 200
            with dripping_lines(connection):
                assert connection.recv(65536) == b""


@contextmanager
def dripping_lines(connection: socket.socket) -> Iterator[None]:
    done = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while not done.wait(0.05):
                connection.sendall(b"\r\n")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_client_that_takes_its_time_within_reason_is_served(impatient: FaultServer) -> None:
    """Ten pieces, each a turn of the server's loop after the one before, and an answer that is taken in small pieces."""
    asked = request(impatient, PREDICT, MANY_ROWS)
    with connect(impatient) as connection:
        size = len(asked) // 10 + 1
        for place in range(0, len(asked), size):
            connection.sendall(asked[place : place + size])
        said = b""
        while piece := connection.recv(4096):
            said += piece
    assert statuses(said) == [200]

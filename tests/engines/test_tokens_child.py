"""What the engine process hears between two steps."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from modeltap.domain.generation import Sampling
from modeltap.engines.tokens_child import Asked
from modeltap.engines.tokens_wire import Begin, Drop, pack


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Asked]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Asked(theirs)


def begun(number: int) -> Begin:
    return Begin(number, (1, 2), Sampling(max_tokens=4, temperature=0.0))


def test_callers_that_come_back_are_heard_before_the_next_step(ends: tuple[socket.socket, Asked]) -> None:
    link, asked = ends
    link.sendall(pack(begun(1)))
    later = threading.Thread(target=link.sendall, args=(pack(begun(2)),))
    later.start()
    heard = asked.now(returning=2) or []
    later.join()
    heard += asked.now() or []
    assert [message.number for message in heard if isinstance(message, Begin)] == [1, 2]


def test_nobody_waits_for_more_callers_than_are_expected(ends: tuple[socket.socket, Asked]) -> None:
    link, asked = ends
    link.sendall(pack(begun(1)) + pack(begun(2)) + pack(Drop(1)))
    assert asked.now(returning=2) == [begun(1), begun(2), Drop(1)]
    assert asked.now(returning=2) == [], "nobody came back, and the step is made without them"


def test_the_end_of_the_parent_is_heard_while_waiting(ends: tuple[socket.socket, Asked]) -> None:
    link, asked = ends
    link.close()
    assert asked.now(returning=2) is None

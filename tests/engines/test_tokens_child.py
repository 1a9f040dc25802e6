"""What the engine process hears between two steps, and which texts have a place in the next one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence

import pytest
from tiny_engine import tiny_model

from modeltap.domain.generation import Sampling
from modeltap.engines.text_stream import Pieces
from modeltap.engines.tokens import Chosen
from modeltap.engines.tokens_child import Asked, Session
from modeltap.engines.tokens_wire import Begin, Drop, pack

WAIT_S = 60.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Asked]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Asked(theirs)


def begun(number: int, prompt_tokens: int = 2) -> Begin:
    return Begin(number, (1,) * prompt_tokens, Sampling(max_tokens=4, temperature=0.0))


def test_what_comes_while_it_waits_is_heard_at_once(ends: tuple[socket.socket, Asked]) -> None:
    link, asked = ends
    later = threading.Thread(target=link.sendall, args=(pack(begun(1)),))
    later.start()
    assert asked.within(WAIT_S) == [begun(1)]
    later.join()
    link.sendall(pack(begun(2)) + pack(Drop(1)))
    assert asked.within(WAIT_S) == [begun(2), Drop(1)]
    assert asked.within(0.0) == []


def test_the_end_of_the_parent_is_heard_while_waiting(ends: tuple[socket.socket, Asked]) -> None:
    link, asked = ends
    link.close()
    assert asked.within(WAIT_S) is None


class OneTokenAStep:
    """Reads a prompt in one step, and gives every text one token in each."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    @property
    def is_busy(self) -> bool:
        return bool(self.numbers)

    def add(self, number: int, prompt_ids: Sequence[int], sampling: Sampling) -> None:
        self.numbers.append(number)

    def drop(self, number: int) -> None:
        self.numbers.remove(number)

    def step(self) -> list[Chosen]:
        return [Chosen(number, (5,)) for number in self.numbers]


def test_a_step_has_room_until_its_tokens_or_its_places_are_taken(tmp_path_factory: pytest.TempPathFactory) -> None:
    pieces = Pieces(tiny_model(tmp_path_factory).tokenizer)
    session = Session(OneTokenAStep(), pieces, max_streams=3, step_tokens=10)
    session.begin(begun(1, prompt_tokens=6))
    assert session.has_room
    session.begin(begun(2, prompt_tokens=6))
    assert not session.has_room, "the second prompt is read in two steps, a third one later"
    session.step()
    assert session.has_room, "both are read"
    session.begin(begun(3))
    assert not session.has_room, "there are three places"
    session.drop(2)
    assert session.has_room

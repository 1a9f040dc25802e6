"""The link between the parent and a worker: questions are answered, and nobody waits for a side that is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from modeltap.errors import Unavailable
from modeltap.wiring.link import ANSWER_S, Changed, Done, Link, Message


def run(flow: Coroutine[Any, Any, None]) -> None:
    """Within less than a side waits for its answer."""
    asyncio.run(asyncio.wait_for(flow, ANSWER_S / 2))


class Side(Link):
    """One end that keeps what it heard."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(self._keep, lambda: self.lost.set())
        self.end = end
        self.heard: list[Message] = []
        self.lost = asyncio.Event()

    def _keep(self, message: Message) -> None:
        self.heard.append(message)
        if isinstance(message, Changed):
            self.tell(Done(message.id, b"changed"))


async def both() -> tuple[Side, Side]:
    one, other = (Side(end) for end in socket.socketpair())
    for side in (one, other):
        await side.open(side.end)
    return one, other


def test_a_question_gets_its_own_answer() -> None:
    async def flow() -> None:
        one, other = await both()
        assert await asyncio.gather(one.ask(Changed), one.ask(Changed)) == [b"changed", b"changed"]
        assert [message.id for message in other.heard if isinstance(message, Changed)] == [1, 2]
        await one.close()
        await other.close()

    run(flow())


def test_whoever_waits_is_told_when_the_other_side_is_gone_and_so_is_who_asks_later() -> None:
    async def flow() -> None:
        one, other = await both()
        other.tell = lambda message: None  # type: ignore[method-assign]  # it hears, and dies before it answers
        waiting = asyncio.ensure_future(one.ask(Changed))
        while not other.heard:
            await asyncio.sleep(0)
        await other.close()
        with pytest.raises(Unavailable, match="about to end"):
            await waiting
        await one.lost.wait()
        with pytest.raises(Unavailable, match="about to end"):
            await one.ask(Changed)
        await one.close()
        with pytest.raises(Unavailable, match="about to end"):
            await one.ask(Changed)

    run(flow())

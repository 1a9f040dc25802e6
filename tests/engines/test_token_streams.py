"""The order in which what a step gave is handed on."""

from __future__ import annotations

import asyncio

from modeltap.domain.generation import GenerationRequest, Sampling, TokenDelta
from modeltap.engines.token_streams import TURN_PIECES, Delivery, Stream, Streams
from modeltap.engines.tokens_wire import Piece

NUM = 3 * TURN_PIECES
SAMPLING = Sampling(max_tokens=9)


class World:
    """Texts that have begun, and who was handed what."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.handed: list[tuple[int, str]] = []
        self.delivery = Delivery(self.streams, self.hand)
        for number in range(1, NUM + 1):
            self.streams.add(GenerationRequest(str(number), (1,), SAMPLING), lambda _: None)

    def hand(self, stream: Stream, delta: TokenDelta) -> None:
        stream.has_sent = True
        self.handed.append((stream.number, delta.text))
        if delta.finish is not None:
            self.streams.take(stream)

    def step(self, text: str, *, ends: int | None = None) -> None:
        finish = {ends: "length"}
        self.delivery.put([Piece(n, TokenDelta(text=text, finish=finish.get(n))) for n in range(1, NUM + 1)])  # type: ignore[arg-type]

    async def rest(self) -> None:
        while self.handed[-1][0] != NUM:
            await asyncio.sleep(0)


def test_first_tokens_and_ends_are_handed_on_at_once_and_the_others_in_turns() -> None:
    async def flow() -> None:
        world = World()
        world.step("a")
        assert world.handed == [(number, "a") for number in range(1, NUM + 1)], "each waits for its first"
        world.handed.clear()
        world.step("b", ends=7)
        assert world.handed == [(7, "b")]
        await asyncio.sleep(0)
        assert len(world.handed) == 1 + TURN_PIECES
        await world.rest()
        assert world.handed[1:] == [(number, "b") for number in range(1, NUM + 1) if number != 7]

    asyncio.run(flow())


def test_what_a_step_gave_is_handed_on_before_what_the_next_one_gave() -> None:
    async def flow() -> None:
        world = World()
        for text in "abcd":
            world.step(text)
            await asyncio.sleep(0)
        await world.rest()
        for number in range(1, NUM + 1):
            assert [text for one, text in world.handed if one == number] == list("abcd")

    asyncio.run(flow())


def test_whoever_left_gets_nothing_more_and_everybody_else_all_of_it_at_the_end() -> None:
    async def flow() -> None:
        world = World()
        world.step("a")
        world.handed.clear()
        world.step("b")
        left = world.streams.numbered(NUM)
        assert left is not None
        world.streams.take(left)
        world.delivery.flush()
        assert world.handed == [(number, "b") for number in range(1, NUM)]

    asyncio.run(flow())

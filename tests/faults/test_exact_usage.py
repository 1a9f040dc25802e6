"""kill -9 under load, over and over: what clients hold is what the books say, to the last unit, and no limit is passed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from charged_books import Books
from charged_clients import Caller, Ledger, Manner, make_key
from fault_server import WAIT_S, FaultServer, is_running, serving, until

NUM_CYCLES = int(os.environ.get("MODELTAP_TEST_KILL_CYCLES", "6"))
"""Of killed servers, with one worker and with two together. A night has time for a thousand."""
CYCLES_A_HOME = 20
MANNERS: tuple[Manner, ...] = ("predict", "predict", "predict", "infer", "short", "idempotent")
NUM_CALLERS = 24
NUM_LIMITED = 6
UPM = 100
"""Of the limited callers together."""


class Crowd:
    """All callers of one home, and what they and the home have on record."""

    def __init__(self, server: FaultServer, chance: random.Random) -> None:
        self.server = server
        self.ledger = Ledger()
        limited, free = make_key(server, upm=UPM), make_key(server)
        self.books = Books(server, self.ledger, {limited.id: UPM})
        self._chance = chance
        self._callers = [
            Caller(
                f"c{number}",
                limited if number < NUM_LIMITED else free,
                MANNERS[number % len(MANNERS)],
                random.Random(chance.random()),
            )
            for number in range(NUM_CALLERS)
        ]
        # Of a caller that opens one after the other the server may not have seen yet that the one before is closed.
        self.max_connections = sum(2 if caller.manner == "short" else 1 for caller in self._callers)

    def call_until_gone(self, then: Callable[[], None]) -> None:
        """`then` happens while all of them call, and every connection breaks by it."""

        async def flow() -> None:
            stop = asyncio.Event()
            address = self.server.address
            callers = [asyncio.create_task(caller.run(address, self.ledger, stop)) for caller in self._callers]
            await self._answered(self._chance.randrange(30, 200))
            then()
            await asyncio.gather(*callers)

        run(flow())

    def call_through(self, *events: Callable[[], None]) -> None:
        """They happen one after the other while all of them call, and whoever loses its connection opens another."""

        async def flow() -> None:
            stop = asyncio.Event()
            address = self.server.address
            callers = [asyncio.create_task(one.run(address, self.ledger, stop, comes_back=True)) for one in self._callers]
            for event in events:
                await self._answered(self._chance.randrange(30, 200))
                await asyncio.to_thread(event)
            await self._answered(50)
            stop.set()
            await asyncio.gather(*callers)

        run(flow())

    async def _answered(self, number: int) -> None:
        """So many more answers are held."""
        wanted = len(self.ledger.held) + number
        while len(self.ledger.held) < wanted:
            await asyncio.sleep(0.002)


def run(flow: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(WAIT_S):
            await flow

    asyncio.run(limited())


def homes(num_cycles: int) -> list[int]:
    """So many cycles, in parts that each have a home of their own."""
    return [min(CYCLES_A_HOME, num_cycles - start) for start in range(0, num_cycles, CYCLES_A_HOME)]


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_of_the_server_loses_nothing_and_charges_nothing_twice(metered_home: Path, tmp_path: Path, workers: int) -> None:
    chance = random.Random(workers)
    environment = {"MODELTAP_WORKERS": str(workers)}
    for number, num_cycles in enumerate(homes((NUM_CYCLES + 1) // 2)):
        home = tmp_path / f"home{number}"
        shutil.copytree(metered_home, home)
        with serving(home, **environment) as server:
            crowd = Crowd(server, chance)
            for cycle in range(num_cycles):
                left = server.worker_pids()
                crowd.call_until_gone(server.kill_all if workers == 1 or chance.random() < 0.5 else server.kill)
                if chance.random() < 0.25:
                    server.launch(**environment)
                    until("it has begun for a while", lambda: chance.random() < 0.1, pause_s=0.1)
                    server.kill_all()
                server.start(**environment)
                until("the workers that lost their parent end", lambda pids=left: not any(map(is_running, pids)))
                crowd.books.compare()
                assert crowd.books.num_unknown <= crowd.max_connections, crowd.books.unknown
                print(f"cycle {number}.{cycle} clean, {crowd.books.num_unknown} unknown")
            assert crowd.ledger.refused[429], "the limit was reached"
        shutil.rmtree(home)

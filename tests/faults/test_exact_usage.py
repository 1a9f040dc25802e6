"""kill -9 under load, over and over: what clients hold is what the books say, to the last unit, and no limit is passed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from charged_books import Books
from charged_clients import Caller, Ledger, Manner, make_key, run
from fault_server import FaultServer, is_running, serving, until
from small_disk import SmallDisk

NUM_CYCLES = int(os.environ.get("MODELTAP_TEST_KILL_CYCLES", "6"))
"""Of killed servers, with one worker and with two together. A night has time for a thousand."""
CYCLES_A_HOME = 20
MANNERS: tuple[Manner, ...] = ("predict", "predict", "predict", "infer", "short", "idempotent")
NUM_CALLERS = 24
NUM_LIMITED = 6
NUM_KILLED_WORKERS = 2
"""Of one server; each makes the next wait longer before it is started again."""
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
        """`then` happens while all of them call, and breaks every connection."""

        async def flow() -> None:
            callers = self._begin(asyncio.Event())
            await self._hold(self._chance.randrange(30, 200))
            then()
            await asyncio.gather(*callers)

        run(flow())

    def call_through(self, *events: Callable[[], None]) -> None:
        """They happen one after the other while all of them call; whoever loses its connection opens another."""

        async def flow() -> None:
            stop = asyncio.Event()
            callers = self._begin(stop, comes_back=True)
            for event in events:
                await self._hold(self._chance.randrange(30, 200))
                await asyncio.to_thread(event)
            await self._hold(50)
            stop.set()
            await asyncio.gather(*callers)

        run(flow())

    def _begin(self, stop: asyncio.Event, *, comes_back: bool = False) -> list[asyncio.Task[None]]:
        address = self.server.address
        return [asyncio.create_task(one.run(address, self.ledger, stop, comes_back=comes_back)) for one in self._callers]

    async def _hold(self, number: int) -> None:
        """Until they hold so many answers more."""
        wanted = len(self.ledger.held) + number
        while len(self.ledger.held) < wanted:
            await asyncio.sleep(0.002)


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
            for _ in range(num_cycles):
                left = server.worker_pids()
                crowd.call_until_gone(server.kill_all if workers == 1 or chance.random() < 0.5 else server.kill)
                if chance.random() < 0.25:
                    server.launch(**environment)
                    until("it has begun for a while", lambda: chance.random() < 0.1, pause_s=0.1)
                    server.kill_all()
                server.start(**environment)
                until("the workers that lost their parent end", lambda pids=left: not any(map(is_running, pids)))
                crowd.books.compare(max_unknown=crowd.max_connections)
            assert crowd.ledger.refused[429], "the limit was reached"
        shutil.rmtree(home)


def test_kill_9_of_a_worker_loses_nothing_and_charges_nothing_twice(metered_home: Path, tmp_path: Path) -> None:
    chance = random.Random(3)
    for number in range(max(1, NUM_CYCLES // 20)):
        home = tmp_path / f"home{number}"
        shutil.copytree(metered_home, home)
        with serving(home, MODELTAP_WORKERS="2") as server:
            crowd = Crowd(server, chance)
            for _ in range(NUM_KILLED_WORKERS):
                crowd.call_through(lambda: replace_worker(server, chance))
                crowd.books.compare(max_unknown=crowd.max_connections)
            assert crowd.ledger.refused[429], "the limit was reached"
        shutil.rmtree(home)


def replace_worker(server: FaultServer, chance: random.Random) -> None:
    """One of two is killed, and another one is there."""
    victim = chance.choice(server.worker_pids())
    os.kill(victim, signal.SIGKILL)
    until("another takes its place", lambda: len(pids := server.worker_pids()) == 2 and victim not in pids)


def test_on_a_full_disk_nothing_is_charged_that_was_not_answered(metered_home: Path, disk: SmallDisk) -> None:
    shutil.copytree(metered_home, disk.place / "home")
    with serving(disk.place / "home") as server:
        crowd = Crowd(server, random.Random(4))

        def full_for_a_while() -> None:
            def fill() -> bool:
                disk.leave(0)
                return crowd.ledger.refused[507] > 50

            until("requests are refused", fill)
            disk.free()

        crowd.call_through(full_for_a_while)
        crowd.books.compare(max_unknown=0)

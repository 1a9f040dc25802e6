"""Limits are reached and never passed, whoever asks at the same time: of a real server, with one process and with several."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from charged_books import audited
from charged_clients import (
    Answer,
    Key,
    Wire,
    everywhere,
    make_key,
    num_processes,
    rows_body,
    run,
    spin_body,
    tensor_body,
    until_loaded,
)
from fault_server import FaultServer, serving, until
from metered_home import ROW_PRICE, deploy_metered

from modeltap.client.receipt import read_receipt

T = TypeVar("T")
NUM_CALLERS = 200
LONGEST_RETRY_S = 61
DAY_S = 86_400
DOUBLE, SPIN = "/predict/double", "/predict/spin"
LOADED = {DOUBLE: rows_body(1), SPIN: spin_body(1)}


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def server(
    request: pytest.FixtureRequest, metered_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultServer]:
    home = tmp_path_factory.mktemp("limits") / "home"
    shutil.copytree(metered_home, home)
    deploy_metered(home, "spin", isolate=True)
    with serving(home, MODELTAP_WORKERS=str(request.param)) as server:
        run(until_loaded(server, LOADED))
        yield server
        audited(server)


async def burst(server: FaultServer, key: Key, body: bytes, num_callers: int = NUM_CALLERS, path: str = DOUBLE) -> list[Answer]:
    """What so many callers get who ask at the same time, each on a connection of its own."""
    wires = await asyncio.gather(*(Wire.open(server.address) for _ in range(num_callers)))
    for wire in wires:
        wire.send(path, body, key.text)
    return await asyncio.gather(*(wire.answer() for wire in wires))


def statuses(answers: list[Answer]) -> dict[int, int]:
    return dict(Counter(answer.status for answer in answers))


def within_a_day(attempt: Callable[[], T]) -> T:
    """Its result, of an attempt in which the UTC day did not change."""
    while True:
        began_s = time.time()
        result = attempt()
        if int(time.time()) // DAY_S == int(began_s) // DAY_S:
            return result


@pytest.mark.parametrize(
    ("limits", "rows", "granted", "rows_left"),
    [
        ({"upm": 100}, 1, 100, 0),
        ({"upm": 100}, 3, 33, 1),
        ({"rpm": 100}, 2, 100, 0),
        ({"rpm": 70, "upm": 100}, 1, 70, 0),
        ({"budget_day": "0.05"}, 1, 100, 0),
        ({"budget_month": "0.05"}, 8, 12, 4),
        ({"budget_day": "0.0501", "upm": 101}, 7, 14, 2),
    ],
    ids=str,
)
def test_200_callers_at_once_are_granted_the_limit_to_the_last_unit(
    server: FaultServer, limits: dict[str, Any], rows: int, granted: int, rows_left: int
) -> None:
    def attempt() -> tuple[Key, list[Answer], list[Answer]]:
        key = make_key(server, **limits)
        return key, run(burst(server, key, rows_body(rows))), run(burst(server, key, rows_body(1), 20))

    key, answers, single = within_a_day(attempt)
    assert statuses(answers) == {200: granted, 429: NUM_CALLERS - granted}
    assert statuses(single) == ({200: rows_left, 429: 20 - rows_left} if rows_left else {429: 20})
    assert len({answer.process for answer in answers}) == num_processes(server)
    for answer in answers:
        if answer.status == 429:
            check_refusal(answer, set(limits))
        else:
            assert Decimal(answer.headers["modeltap-cost"]) == rows * ROW_PRICE
    (used,) = server.ask("GET", "/api/usage", params={"key": key.id})["sums"]
    assert (used["requests"], used["answered"], used["units"]) == (
        granted + rows_left,
        granted + rows_left,
        granted * rows + rows_left,
    )


def check_refusal(answer: Answer, limits: set[str]) -> None:
    """It names a limit of the key, and says when to come back where that is soon."""
    problem = msgspec.json.decode(answer.body)
    assert problem["limit"] in limits
    if problem["limit"].startswith("budget"):
        assert problem["code"] == "insufficient_quota"
    else:
        assert problem["code"] == "rate_limit_exceeded"
        assert 1 <= int(answer.headers["retry-after"]) <= LONGEST_RETRY_S
        assert 0 < problem["retry_after_s"] <= int(answer.headers["retry-after"])
    assert ("retry-after" in answer.headers) != (answer.headers.get("x-should-retry") == "false")


def test_keys_of_a_tenant_share_its_limit(server: FaultServer) -> None:
    keys = [make_key(server, upm=90), make_key(server), make_key(server)]

    async def flow() -> list[Answer]:
        bursts = await asyncio.gather(*(burst(server, key, rows_body(1), 100) for key in keys))
        return [answer for answers in bursts for answer in answers]

    server.ask("PATCH", "/api/tenants/default", json={"limits": {"upm": 150}})
    try:
        answers = run(flow())
    finally:
        server.ask("PATCH", "/api/tenants/default", json={"limits": {"upm": None}})
    assert statuses(answers) == {200: 150, 429: 150}
    assert statuses(run(burst(server, keys[1], rows_body(1), 20))) == {200: 20}


def test_both_protocols_count_for_one_limit(server: FaultServer) -> None:
    key = make_key(server, upm=100)

    async def flow() -> list[Answer]:
        both = await asyncio.gather(
            burst(server, key, rows_body(1), 100), burst(server, key, tensor_body(1), 100, "/v2/models/double/infer")
        )
        return [answer for answers in both for answer in answers]

    assert statuses(run(flow())) == {200: 100, 429: 100}


def test_no_more_run_at_a_time_than_the_limit_says_and_a_place_that_comes_free_is_given_again(server: FaultServer) -> None:
    admin = Key("admin", server.client.headers["x-api-key"])

    async def flow(rounds: int) -> bool:
        """Whether the engines were busy for long enough to see it."""
        key = make_key(server, concurrency=5)
        blockers = await everywhere(server)
        for wire in blockers:
            wire.send(SPIN, spin_body(rounds), admin.text)
        callers = [await Wire.open(server.address) for _ in range(40)]
        for wire in callers:
            wire.send(SPIN, spin_body(1), key.text)
        blocked = asyncio.ensure_future(
            asyncio.wait([asyncio.ensure_future(wire.answer()) for wire in blockers], return_when="FIRST_COMPLETED")
        )
        answers = [asyncio.ensure_future(wire.answer()) for wire in callers]
        refused = 0
        for refusal in asyncio.as_completed(answers):
            refused += (await refusal).status == 429
            if refused == 35:
                break
        was_busy = not blocked.done()
        await blocked
        done = await asyncio.gather(*answers)
        assert not was_busy or statuses(done) == {200: 5, 429: 35}
        for answer in done:
            if answer.status == 429:
                check_refusal(answer, {"concurrency"})
        again = await Wire.open(server.address)
        for _ in range(10):
            assert (await again.ask(DOUBLE, rows_body(1), key.text)).status == 200
        return was_busy

    rounds = 1_000_000
    while not run(flow(rounds)):
        rounds *= 2


def test_answers_tell_what_is_left(server: FaultServer) -> None:
    key = make_key(server, rpm=4, upm=100)

    async def flow() -> list[Answer]:
        wire = await Wire.open(server.address)
        return [await wire.ask(DOUBLE, rows_body(rows), key.text) for rows in (3, 10, 1, 50, 1)]

    *answers, refused = run(flow())
    receipts = [read_receipt(answer.headers) for answer in answers]
    assert [answer.status for answer in answers] == [200, 200, 200, 200]
    assert [receipt.cost for receipt in receipts] == [rows * ROW_PRICE for rows in (3, 10, 1, 50)]
    assert {receipt.model for receipt in receipts} == {"double@1"}
    left = [(receipt.requests, receipt.units) for receipt in receipts]
    assert [
        (requests.limit, requests.remaining, units.limit, units.remaining) for requests, units in left if requests and units
    ] == [
        (4, 3, 100, 97),
        (4, 2, 100, 87),
        (4, 1, 100, 86),
        (4, 0, 100, 36),
    ]
    assert all(0 < allowance.reset_s <= LONGEST_RETRY_S for pair in left for allowance in pair if allowance)
    assert refused.status == 429 and refused.headers["x-ratelimit-remaining-requests"] == "0"
    check_refusal(refused, {"rpm"})


def test_a_limit_that_is_changed_holds_at_once_for_everybody(server: FaultServer) -> None:
    key = make_key(server, upm=20)

    def granted() -> int:
        return statuses(run(burst(server, key, rows_body(1), 60))).get(200, 0)

    def change(upm: int | None) -> None:
        server.ask("PATCH", f"/api/keys/{key.id}", json={"limits": {"upm": upm}})

    assert granted() == 20
    change(30)
    assert granted() == 10
    change(25)
    assert granted() == 0
    change(None)
    assert granted() == 60


def test_a_key_that_is_revoked_opens_nothing_in_any_process(server: FaultServer) -> None:
    key = make_key(server)

    async def flow() -> None:
        wires = await everywhere(server)
        for wire in wires:
            assert (await wire.ask(DOUBLE, rows_body(1), key.text)).status == 200
        server.ask("DELETE", f"/api/keys/{key.id}")
        for wire in wires:
            assert (await wire.ask(DOUBLE, rows_body(1), key.text)).status == 401

    run(flow())


def test_a_process_that_was_just_starting_knows_what_changed_meanwhile(server: FaultServer) -> None:
    if num_processes(server) == 1:
        pytest.skip("it takes a process beside the one that starts")
    revoked, limited = make_key(server), make_key(server, upm=50)
    before = server.worker_pids()
    os.kill(before[0], signal.SIGKILL)
    until("another worker starts", lambda: len(server.worker_pids()) == 2 and server.worker_pids() != before)
    server.ask("DELETE", f"/api/keys/{revoked.id}")
    server.ask("PATCH", f"/api/keys/{limited.id}", json={"limits": {"upm": 40}})

    async def flow() -> list[Answer]:
        for wire in await everywhere(server):
            assert (await wire.ask(DOUBLE, rows_body(1), revoked.text)).status == 401
        await until_loaded(server, LOADED)
        return await burst(server, limited, rows_body(1))

    assert statuses(run(flow())) == {200: 40, 429: 160}

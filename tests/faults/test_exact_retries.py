"""Answers that were lost and clients that left: a retry is answered with the same bytes and charged once, whoever left is not
charged at all."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from charged_books import audited, read_records
from charged_clients import PAUSE_S, Answer, Key, Wire, everywhere, make_key, rows_body, run, spin_body, until_loaded
from fault_server import FaultServer, serving
from metered_home import deploy_metered
from small_bundles import ENDLESS

DOUBLE, SPIN = "/predict/double", "/predict/spin"


@pytest.fixture(scope="module")
def server(metered_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """Two workers, so that a retry may come to another process than the first try."""
    home = tmp_path_factory.mktemp("retries") / "home"
    shutil.copytree(metered_home, home)
    deploy_metered(home, "spin", isolate=True)
    with serving(home, MODELTAP_WORKERS="2") as server:
        run(until_loaded(server, {DOUBLE: rows_body(1), SPIN: spin_body(1)}))
        yield server
        audited(server)


def headers(idempotency_key: str, request_id: str) -> dict[str, str]:
    return {"idempotency-key": idempotency_key, "x-request-id": request_id}


async def lose_an_answer(server: FaultServer, key: Key) -> None:
    """The request `first` is answered, and its client takes one byte of it."""
    wire = await Wire.open(server.address)
    wire.send(DOUBLE, rows_body(3), key.text, headers("order-7", "first"))
    await wire.first_byte()
    await wire.cut()


async def retries(server: FaultServer, key: Key) -> list[Answer]:
    """What every process answers to the same request."""
    wires = await everywhere(server)
    names = [f"retry-{number}" for number in range(len(wires))]
    return [
        await wire.ask(DOUBLE, rows_body(3), key.text, headers("order-7", name))
        for wire, name in zip(wires, names, strict=True)
    ]


def check_replayed(server: FaultServer, key: Key, answers: list[Answer]) -> None:
    """They are the stored bytes of `first`, which was charged, and nothing else was."""
    assert {(answer.status, answer.headers.get("idempotent-replayed")) for answer in answers} == {(200, "true")}
    (body,) = {answer.body for answer in answers}
    assert msgspec.json.decode(body)["id"] == "first"
    (record,) = read_records(server, key=key.id)
    assert (record["request_id"], record["status"], record["units"], record["cost"]) == ("first", "answered", "3", "0.0015")


def test_a_retry_after_a_lost_answer_gets_the_stored_bytes_and_no_second_charge(server: FaultServer) -> None:
    key = make_key(server, upm=3, rpm=1)
    run(lose_an_answer(server, key))
    for _ in range(2):
        check_replayed(server, key, run(retries(server, key)))


def test_a_retry_after_kill_9_gets_the_stored_bytes_and_no_second_charge(
    metered_home: Path, serve: Callable[..., FaultServer]
) -> None:
    server = serve(metered_home)
    key = make_key(server, upm=3, rpm=1)
    run(lose_an_answer(server, key))
    server.kill()
    server.start()
    check_replayed(server, key, run(retries(server, key)))
    audited(server)


def test_a_second_try_while_the_first_one_runs_is_told_to_wait_in_every_process(server: FaultServer) -> None:
    async def flow(rounds: int) -> bool:
        """Whether the first one ran for long enough to see it."""
        key = make_key(server)
        first, *others = await everywhere(server) + await everywhere(server)
        answer = asyncio.ensure_future(first.ask(SPIN, spin_body(rounds), key.text, headers("slow", "first")))
        while not list((server.home / "usage" / "claims").iterdir()):
            await asyncio.sleep(0.001)
        seconds = [await wire.ask(SPIN, spin_body(rounds), key.text, headers("slow", "second")) for wire in others]
        ran_long_enough = not answer.done()
        assert (await answer).status == 200
        if ran_long_enough:
            assert {second.status for second in seconds} == {409}
            assert "is being answered" in msgspec.json.decode(seconds[0].body)["detail"]
        third = await others[0].ask(SPIN, spin_body(rounds), key.text, headers("slow", "third"))
        assert (third.body, third.headers["idempotent-replayed"]) == (answer.result().body, "true")
        (record,) = read_records(server, key=key.id)
        assert record["request_id"] == "first"
        return ran_long_enough

    rounds = 1_000_000
    while not run(flow(rounds)):
        rounds *= 2


def test_an_idempotency_key_is_for_one_request_of_one_key(server: FaultServer) -> None:
    one, other = make_key(server), make_key(server)

    async def flow() -> None:
        wire, another = await everywhere(server)
        assert (await wire.ask(DOUBLE, rows_body(1), one.text, headers("k", "a"))).status == 200
        for wrong in (rows_body(2), rows_body(1, value=2.0)):
            refused = await another.ask(DOUBLE, wrong, one.text, headers("k", "b"))
            assert refused.status == 409 and "was used for another request" in msgspec.json.decode(refused.body)["detail"]
        elsewhere = await another.ask(DOUBLE, rows_body(2), other.text, headers("k", "c"))
        assert elsewhere.status == 200 and "idempotent-replayed" not in elsewhere.headers

    run(flow())
    assert [record["request_id"] for record in read_records(server, key=one.id)] == ["a"]
    assert [record["request_id"] for record in read_records(server, key=other.id)] == ["c"]


def test_what_was_refused_is_not_kept_for_a_retry(server: FaultServer) -> None:
    key = make_key(server, upm=4)

    async def flow() -> None:
        wire, another = await everywhere(server)
        assert (await wire.ask(DOUBLE, b'{"instances": [["x"]]}', key.text, headers("k", "a"))).status == 422
        assert (await another.ask(DOUBLE, rows_body(5), key.text, headers("k", "b"))).status == 429
        assert (await wire.ask(DOUBLE, rows_body(4), key.text, headers("k", "c"))).status == 200

    run(flow())
    assert [record["request_id"] for record in read_records(server, key=key.id)] == ["c"]


@pytest.mark.parametrize("more", [{}, {"idempotency-key": "once"}], ids=["plain", "with an Idempotency-Key"])
def test_a_client_that_leaves_is_not_charged_and_frees_its_place(
    metered_home: Path, tmp_path: Path, more: dict[str, str]
) -> None:
    shutil.copytree(metered_home, tmp_path / "home")
    deploy_metered(tmp_path / "home", "spin", isolate=True)
    with serving(tmp_path / "home") as server:
        run(until_loaded(server, {DOUBLE: rows_body(1), SPIN: spin_body(1)}))
        key = make_key(server, concurrency=1)

        async def flow() -> None:
            leaving, staying = await Wire.open(server.address), await Wire.open(server.address)
            refused = None
            while refused is None or refused.done():  # where the other one had the place just then
                refused = asyncio.ensure_future(
                    leaving.ask(SPIN, spin_body(ENDLESS), key.text, {"x-request-id": "left", **more})
                )
                while not refused.done() and (await staying.ask(DOUBLE, rows_body(1), key.text)).status == 200:
                    await asyncio.sleep(PAUSE_S)
            refused.cancel()
            await leaving.cut()
            while (await staying.ask(DOUBLE, rows_body(1), key.text, {"x-request-id": "stayed"})).status == 429:
                pass

        run(flow())
        records = {record["request_id"]: record for record in read_records(server, key=key.id)}
        left = records["left"]
        assert (left["status"], left["units"], left["cost"], left["delivery"]) == ("cancelled", "0", "0", "none")
        assert (records["stayed"]["status"], records["stayed"]["units"]) == ("answered", "1")
        audited(server)

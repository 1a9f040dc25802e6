"""Clients that leave before their answer: their place in the queue and their share of a limit are free again, and the books
say that they left."""

from __future__ import annotations

import csv
import io
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from door_world import INFER, QUESTION, WAIT_S, ask, connect, in_chunks, next_reply, number_of, request, spin
from fault_server import FaultServer, until

LIMIT = 4
SPIN, PREDICT_SPIN = "/v2/models/spin/infer", "/predict/spin"
ROW = json.dumps({"instances": [[1]]}).encode()
CSV = b"1\n"
WAYS: dict[str, Callable[[str], bytes]] = {
    "the hot path": lambda key: request(key, SPIN, spin(1), close=False),
    "chunks": lambda key: in_chunks(key, SPIN, spin(1)),
    "rows": lambda key: request(key, PREDICT_SPIN, ROW, close=False),
    "text": lambda key: request(key, PREDICT_SPIN, CSV, "content-type: text/csv", close=False),
    "an idempotency key": lambda key: request(key, SPIN, spin(1), "idempotency-key: one", close=False),
}


def leave(connection: socket.socket) -> None:
    connection.close()


def break_off(connection: socket.socket) -> None:
    """As a crash does: what is on the way is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def in_flight(server: FaultServer) -> float:
    """Requests beside the one that asks."""
    return number_of(server, "modeltap_in_flight_requests") - 1


def waiting_entries(server: FaultServer) -> float:
    """Requests that wait for an engine."""
    return number_of(server, "modeltap_queue_entries")


@contextmanager
def engine_stopped(server: FaultServer) -> Iterator[None]:
    """The process that runs `spin` stands still."""
    assert server.process is not None
    children = psutil.Process(server.process.pid).children(recursive=True)
    (engine,) = (child for child in children if "modeltap.engines.child" in child.cmdline())
    engine.suspend()
    try:
        yield
    finally:
        engine.resume()


@contextmanager
def engine_busy(server: FaultServer) -> Iterator[None]:
    """The engine of `spin` has something to do and stands still; what comes meanwhile waits. Then it goes on."""
    until("nothing is in flight", lambda: in_flight(server) == 0)
    with connect(server) as connection:
        with engine_stopped(server):
            connection.sendall(request(server, SPIN, spin(1), close=False))
            until("it runs", lambda: in_flight(server) == 1 and not waiting_entries(server))
            yield
        assert next_reply(connection).status == 200


def outcomes(server: FaultServer, key_id: str) -> Counter[str]:
    """How the key's requests ended, by the usage records."""
    text = server.client.get("/api/usage.csv", params={"key": key_id}).text
    return Counter(row["status"] for row in csv.DictReader(io.StringIO(text)))


def use_all_at_once(server: FaultServer, key: str) -> list[int]:
    """The statuses of as many requests at a time as the key may have."""
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(ask(server, request(key, SPIN, spin(1))).status)) for _ in range(LIMIT)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("how", [leave, break_off])
@pytest.mark.parametrize("way", WAYS)
def test_who_leaves_the_queue_takes_nothing_with_him(door: FaultServer, way: str, how: Callable[[socket.socket], None]) -> None:
    key = door.ask("POST", "/api/keys", json={"limits": {"concurrency": LIMIT}})
    ask_so = WAYS[way] if way != "an idempotency key" else None
    with ExitStack() as opened, engine_busy(door):
        waiting = [opened.enter_context(connect(door)) for _ in range(LIMIT)]
        for number, connection in enumerate(waiting):
            asked = ask_so(key["key"]) if ask_so else WAYS[way](key["key"]).replace(b"key: one", b"key: n%d" % number)
            connection.sendall(asked)
        until("all of them wait", lambda: waiting_entries(door) == LIMIT)
        refused = ask(door, request(key["key"], SPIN, spin(1)))
        assert refused.status == 429 and "retry-after" in refused.headers
        for connection in waiting:
            how(connection)
        until("all of them are gone", lambda: not waiting_entries(door))
    assert use_all_at_once(door, key["key"]) == [200] * LIMIT
    until("the books say so", lambda: outcomes(door, key["id"]) == {"cancelled": LIMIT, "answered": LIMIT})


def test_who_leaves_while_he_is_answered_is_not_charged(door: FaultServer) -> None:
    key = door.ask("POST", "/api/keys", json={"limits": {"concurrency": 1}})
    until("nothing is in flight", lambda: in_flight(door) == 0)
    with engine_stopped(door):
        with connect(door) as connection:
            connection.sendall(request(key["key"], SPIN, spin(1)))
            until("it runs", lambda: in_flight(door) == 1 and not waiting_entries(door))
        until("it is given up", lambda: in_flight(door) == 0)
    assert ask(door, request(key["key"], INFER, QUESTION)).status == 200
    until("the books say so", lambda: outcomes(door, key["id"]) == {"cancelled": 1, "answered": 1})
    (found,) = door.ask("GET", "/api/usage", params={"key": key["id"]})["totals"]
    assert found["units"] == 1


def test_who_leaves_in_the_middle_of_a_question_was_never_there(door: FaultServer) -> None:
    key = door.ask("POST", "/api/keys", json={"limits": {"concurrency": 1}})
    for asked in (request(key["key"], INFER, QUESTION), in_chunks(key["key"], INFER, QUESTION)):
        for place in range(0, len(asked) - 1, 40):
            with connect(door) as connection:
                connection.sendall(asked[:place])
    until("nothing is in flight", lambda: in_flight(door) == 0)
    assert ask(door, request(key["key"], INFER, QUESTION)).status == 200
    until("the books say so", lambda: outcomes(door, key["id"]) == {"answered": 1})


def test_who_leaves_a_row_of_requests_does_not_have_them_all_done(door: FaultServer) -> None:
    """While the first waits the others are not read, and so is not that the client has left; it is seen behind the first."""
    key = door.ask("POST", "/api/keys", json={})
    with engine_busy(door), connect(door) as connection:
        connection.sendall(request(key["key"], SPIN, spin(1), close=False) * 20)
        until("the first waits", lambda: waiting_entries(door) == 1)
    until("nothing is in flight", lambda: in_flight(door) == 0)
    until("the books say so", lambda: outcomes(door, key["id"]).total() > 0)
    assert ask(door, request(key["key"], INFER, QUESTION)).status == 200
    until("the books say so", lambda: outcomes(door, key["id"])["answered"] > 0)
    assert outcomes(door, key["id"]).total() <= 5


def test_a_grpc_client_that_gives_up_leaves_its_place(door: FaultServer) -> None:
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    key = door.ask("POST", "/api/keys", json={"limits": {"concurrency": LIMIT}})
    asked = service_pb2.ModelInferRequest(model_name="spin", raw_input_contents=[(1).to_bytes(8, "little")])
    asked.inputs.add(name="x", datatype="INT64", shape=[1, 1])
    with_key = (("authorization", f"Bearer {key['key']}"),)
    address = json.loads((door.home / "server.json").read_text())["grpc"]
    with grpc.insecure_channel(address) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        with engine_busy(door):
            waiting = [infer.future(asked, metadata=with_key) for _ in range(LIMIT)]
            until("all of them wait", lambda: waiting_entries(door) == LIMIT)
            with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
                infer(asked, metadata=with_key)
            for call in waiting:
                call.cancel()
            until("all of them are gone", lambda: not waiting_entries(door))
        again = [infer.future(asked, metadata=with_key) for _ in range(LIMIT)]
        assert [call.result(WAIT_S).model_version for call in again] == ["1"] * LIMIT
    until("the books say so", lambda: outcomes(door, key["id"]) == {"cancelled": LIMIT, "answered": LIMIT})

"""Clients of one server, many at once, who keep books of their own: every whole answer that they hold, and every request that
got none."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import msgspec
from fault_server import WAIT_S, FaultServer

T = TypeVar("T")
Address = tuple[str, int]
Manner = Literal["predict", "infer", "short", "idempotent"]
"""short: a connection for each request. idempotent: repeats a request that got no answer, under the same Idempotency-Key."""
GONE = (OSError, asyncio.IncompleteReadError)
"""The connection ended before the whole answer was there."""
PAUSE_S = 0.02
"""After a refusal, so that the refused leave the processor to the others."""


class Key(NamedTuple):
    id: str
    text: str


def make_key(server: FaultServer, **limits: Any) -> Key:
    made = server.ask("POST", "/api/keys", json={"limits": limits})
    return Key(made["id"], made["key"])


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def process(self) -> str:
        """The process that answered; only where it gave the request its id."""
        return self.headers["x-request-id"][:20]


def run(flow: Coroutine[Any, Any, T]) -> T:
    """What it comes to, on an event loop of its own; whatever connections are still open are cut."""

    async def limited() -> T:
        try:
            async with asyncio.timeout(WAIT_S):
                return await flow
        finally:
            for wire in list(Wire.opened):
                await wire.cut()

    return asyncio.run(limited())


class Wire:
    """One connection that is kept open."""

    opened: ClassVar[set[Wire]] = set()

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.opened.add(self)

    @classmethod
    async def open(cls, address: Address) -> Wire:
        return cls(*await asyncio.open_connection(*address))

    async def ask(self, path: str, body: bytes, key: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The whole answer. Raises what is in GONE."""
        self.send(path, body, key, headers)
        return await self.answer()

    def send(self, path: str, body: bytes, key: str, headers: Mapping[str, str] | None = None) -> None:
        lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "host: x", f"authorization: Bearer {key}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += ["content-type: application/json", f"content-length: {len(body)}"] if body else []
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split()[1]), headers, body)

    async def first_byte(self) -> None:
        """The answer has begun."""
        await self._reader.readexactly(1)

    async def cut(self) -> None:
        """Closes it at once, whatever is under way."""
        self.opened.discard(self)
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()


def num_processes(server: FaultServer) -> int:
    """That serve."""
    return len(server.worker_pids()) or 1


async def everywhere(server: FaultServer) -> list[Wire]:
    """A connection to each process of the server, fresh ones: those that are idle for some seconds are closed."""
    while True:
        wires: dict[str, Wire] = {}
        for _ in range(32):
            wire = await Wire.open(server.address)
            process = (await wire.ask("/livez", b"", "")).process
            if process in wires:
                await wire.cut()
            wires.setdefault(process, wire)
            if len(wires) == num_processes(server):
                return list(wires.values())
        for wire in wires.values():
            await wire.cut()
        await asyncio.sleep(PAUSE_S)


async def until_loaded(server: FaultServer, questions: Mapping[str, bytes]) -> None:
    """Every process answers these: path → body."""
    key = server.client.headers["x-api-key"]
    for path, body in questions.items():
        while {(await wire.ask(path, body, key)).status for wire in await everywhere(server)} != {200}:
            await asyncio.sleep(PAUSE_S)


def spin_body(rounds: int) -> bytes:
    """One row for `spin`, of /predict."""
    return msgspec.json.encode({"instances": [[rounds]]})


def rows_body(units: int, value: float = 1.0) -> bytes:
    """So many rows for `double`, of /predict."""
    return msgspec.json.encode({"instances": [[value, 2, 3, 4]] * units})


def tensor_body(units: int, value: float = 1.0) -> bytes:
    """The same for /v2."""
    data = [value, 2.0, 3.0, 4.0] * units
    return msgspec.json.encode({"inputs": [{"name": "x", "datatype": "FP32", "shape": [units, 4], "data": data}]})


def num_answers(body: bytes) -> int:
    """Rows in an answer of `double`; each is right."""
    answer: dict[str, Any] = msgspec.json.decode(body)
    if "predictions" in answer:
        rows = answer["predictions"]
    else:
        (output,) = answer["outputs"]
        rows = [output["data"][start : start + 4] for start in range(0, len(output["data"]), 4)]
    assert all(row[1:] == [4.0, 6.0, 8.0] for row in rows), rows
    return len(rows)


class Sent(NamedTuple):
    """One request. `began_s` is when it was sent; `idempotency_key` '' is none."""

    request_id: str
    key_id: str
    units: int
    began_s: float
    idempotency_key: str


class Held(NamedTuple):
    """A whole answer that was 200."""

    sent: Sent
    ended_s: float
    cost: Decimal
    body: bytes
    is_replayed: bool


@dataclass
class Ledger:
    """What the clients know, by request id."""

    held: dict[str, Held] = field(default_factory=dict)
    lost: dict[str, Sent] = field(default_factory=dict)
    """Sent, and not answered whole."""
    refused: Counter[int] = field(default_factory=Counter)
    """Status → how often."""

    def hold(self, sent: Sent, answer: Answer) -> None:
        assert num_answers(answer.body) == sent.units
        is_replayed = answer.headers.get("idempotent-replayed") == "true"
        cost = Decimal(answer.headers.get("modeltap-cost", "0"))
        self.held[sent.request_id] = Held(sent, time.monotonic(), cost, answer.body, is_replayed)


class Caller:
    """One client: a request, its whole answer, then the next request; on one connection at a time."""

    def __init__(self, name: str, key: Key, manner: Manner, chance: random.Random) -> None:
        self.name = name
        self.key = key
        self.manner = manner
        self._chance = chance
        self._num_sent = 0
        self._unanswered: tuple[str, int] | None = None

    async def run(self, address: Address, ledger: Ledger, stop: asyncio.Event, *, comes_back: bool = False) -> None:
        """Until the connection breaks, or with `comes_back` over all that break, until `stop` is set and what was begun is
        answered."""
        while not stop.is_set():
            try:
                wire = await Wire.open(address)
            except OSError:
                if not comes_back:
                    return
                await asyncio.sleep(PAUSE_S)
                continue
            try:
                await self._use(wire, ledger, stop)
            except GONE:
                if not comes_back:
                    return
            finally:
                await wire.cut()

    async def _use(self, wire: Wire, ledger: Ledger, stop: asyncio.Event) -> None:
        """One request after the other, as long as the connection is to be kept. Raises what is in GONE."""
        while not stop.is_set():
            answer = await self._ask(wire, ledger)
            if answer.status != 200:
                ledger.refused[answer.status] += 1
                await asyncio.sleep(PAUSE_S)
            if self.manner == "short" or answer.headers.get("connection") == "close":
                return

    async def _ask(self, wire: Wire, ledger: Ledger) -> Answer:
        self._num_sent += 1
        request_id = f"{self.name}-{self._num_sent}"
        headers = {"x-request-id": request_id}
        units, idempotency_key = self._chance.randrange(1, 5), ""
        if self.manner == "idempotent":
            idempotency_key, units = self._unanswered or (f"once-{request_id}", units)
            self._unanswered = idempotency_key, units
            headers["idempotency-key"] = idempotency_key
        by_tensors = self.manner == "infer"
        path, body = ("/v2/models/double/infer", tensor_body(units)) if by_tensors else ("/predict/double", rows_body(units))
        sent = Sent(request_id, self.key.id, units, time.monotonic(), idempotency_key)
        ledger.lost[request_id] = sent
        answer = await wire.ask(path, body, self.key.text, headers)
        del ledger.lost[request_id]
        if answer.status == 200:
            self._unanswered = None
            ledger.hold(sent, answer)
        return answer

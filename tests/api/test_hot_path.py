"""Requests that are answered in one turn of the loop go one by one: what goes wrong with one is not the others' trouble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from served_models import Samples
from workshop import KEY, Plane

from modeltap.api.hot import HotPath


class Client:
    """One connection as the hot path sees it; a broken one cannot be written to."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.is_broken = is_broken
        self.on_lost: Callable[[], None] | None = None
        self.status = 0
        self.is_delivered = self.is_aborted = False

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        if self.is_broken:
            raise OSError("the transport is broken")
        self.status = status

    def when_flushed(self, then: Callable[[], None]) -> None:
        if not self.is_aborted:
            self.is_delivered = True
            then()

    def abort(self) -> None:
        self.is_aborted = True


def test_an_answer_that_cannot_be_sent_keeps_no_other_one(
    plane: Plane, samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"x": samples.digits[0].tolist()}).encode()
    clients = [Client(), Client(is_broken=True), Client()]

    async def ask(hot: HotPath) -> None:
        headers = [
            (b"authorization", f"Bearer {KEY}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        head = hot.head("/predict/digits", headers)
        assert all(hot.begin(client, head, body) for client in clients)
        async with asyncio.timeout(10):
            while not (clients[2].is_delivered and clients[1].is_aborted):
                await asyncio.sleep(0.001)

    plane.run(ask(plane.data.hot))
    assert [client.status for client in clients] == [200, 0, 200]
    assert [client.is_delivered for client in clients] == [True, False, True]
    assert "could not be sent" in caplog.text
    assert plane.post("/predict/digits", content=body, headers={"content-type": "application/json"}).status_code == 200

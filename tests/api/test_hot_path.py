"""Requests that are answered in one turn of the loop go one by one: what goes wrong with one is not the others' trouble."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import pytest
from served_models import Samples
from uvicorn.server import ServerState
from workshop import KEY, Plane

from modeltap.api.hot import HotPath
from modeltap.api.hot_cycle import HotCycle
from modeltap.domain.deployment import Deployment
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.serving.call import Call


class Client:
    """One connection as the hot path sees it, and its transport; a broken one cannot be written to."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.is_broken = is_broken
        self.transport: Any = self
        self.server_state = ServerState()
        self.status = 0
        self.is_lost = self.is_aborted = False

    def write(self, data: bytes) -> None:
        if self.is_broken:
            raise OSError("the transport is broken")
        self.status = int(data.split()[1])

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.abort()

    def answered(self) -> None:
        self.server_state.total_requests += 1

    def when_flushed(self, then: Callable[[], None]) -> None:
        raise AssertionError("everything is with the system at once")


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
        cycles = [HotCycle(client, head) for client in clients]
        assert all(hot.begin(cycle, body) for cycle in cycles)
        async with asyncio.timeout(10):
            while not (_is_delivered(cycles[2]) and clients[1].is_aborted):
                await asyncio.sleep(0.001)
        assert [_is_delivered(cycle) for cycle in cycles] == [True, False, True]

    plane.run(ask(plane.data.hot))
    assert [client.status for client in clients] == [200, 0, 200]
    assert "could not be sent" in caplog.text
    assert plane.post("/predict/digits", content=body, headers={"content-type": "application/json"}).status_code == 200


def test_nothing_of_a_request_that_was_answered_waits_to_be_collected(plane: Plane, samples: Samples) -> None:
    body = json.dumps({"x": samples.digits[0].tolist()}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    known = [*headers, (b"authorization", f"Bearer {KEY}".encode())]

    async def ask(hot: HotPath) -> None:
        for client, lines in ((Client(), known), (Client(), headers)):  # answered, and refused for want of a key
            assert hot.begin(HotCycle(client, hot.head("/predict/digits", lines)), body)
            async with asyncio.timeout(10):
                while not client.status:
                    await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)

    plane.run(ask(plane.data.hot))
    gc.collect()
    gc.disable()
    try:
        plane.run(ask(plane.data.hot))
        assert not [one for one in gc.get_objects() if type(one) in (Call, HotCycle)]
    finally:
        gc.enable()


def test_a_head_that_came_before_leads_to_what_its_name_means_now(plane: Plane, samples: Samples) -> None:
    row = samples.digits[0]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, *row.shape], "data": row.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = plane.data.hot.head("/v2/models/digits/infer", [(b"authorization", f"Bearer {KEY}".encode())])
    everything = plane.router.deployments(DEFAULT_TENANT)
    others = {name: one for name, one in everything.items() if name != "digits"}

    async def ask() -> int:
        client = Client()
        assert plane.data.hot.begin(HotCycle(client, head), body)
        async with asyncio.timeout(10):
            while not client.status:
                await asyncio.sleep(0.001)
        return client.status

    async def publish(deployments: dict[str, Deployment]) -> None:
        await plane.data.publish(DeploymentSnapshot(deployments={DEFAULT_TENANT: deployments}))

    assert [plane.run(ask()) for _ in range(2)] == [200, 200]
    plane.run(publish(others))
    try:
        assert [plane.run(ask()) for _ in range(2)] == [404, 404]
    finally:
        plane.run(publish(everything))
    plane.run(plane.router.ensure(everything["digits"]))
    assert plane.run(ask()) == 200


def _is_delivered(cycle: HotCycle) -> bool:
    return cycle.call is not None and cycle.call.ticket is not None and cycle.call.ticket.state == "delivered"

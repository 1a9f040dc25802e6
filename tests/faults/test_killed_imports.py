"""A server that is killed while a model is read: the process that read it ends too, nothing is registered, and the next server
imports as if nothing had been."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import numpy as np
import psutil
from fault_server import FaultServer, is_running, until
from foreign_graphs import spinning, sum_and_difference
from onnx import numpy_helper

IMPORT = "/api/models/import"


def endless() -> bytes:
    """A graph that takes nothing and never ends."""
    model = spinning()
    del model.graph.input[:]
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**60]), "rounds"))
    content: bytes = model.SerializeToString()
    return content


def reader_of(server: FaultServer) -> int | None:
    assert server.process is not None
    for child in psutil.Process(server.process.pid).children():
        if "modeltap.importing.onnx_child" in child.cmdline():
            return child.pid
    return None


def test_a_reader_ends_with_its_server_and_leaves_no_model(serve: Callable[..., FaultServer]) -> None:
    server = serve()

    def ask() -> None:
        try:
            server.client.post(IMPORT, params={"name": "endless"}, content=endless())
        except httpx.HTTPError:
            return

    asking = threading.Thread(target=ask)
    asking.start()
    reader = until("a process reads it", lambda: reader_of(server))
    until("it works on it", lambda: psutil.Process(reader).cpu_times().user > 0.5)
    client = server.client
    server._client = None
    server.kill()
    asking.join(30)
    client.close()
    until("the reader ends", lambda: not is_running(reader))
    server.start()
    assert server.client.get("/api/models").json()["models"] == []
    good = server.client.post(IMPORT, params={"name": "good"}, content=sum_and_difference().SerializeToString())
    assert good.status_code == 201, good.text
    assert server.client.get("/api/audit").json()["clean"]

"""Workers and their parent: what is made once is made before they start, and they end with their parent, whatever they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fault_server import FaultServer, is_running, until


@pytest.fixture
def server(tmp_path: Path) -> FaultServer:
    return FaultServer(tmp_path / "home")


def is_there(server: FaultServer) -> bool:
    """The workers were started, and perhaps nothing more."""
    return len(server.worker_pids()) == 2


def has_segments(server: FaultServer) -> bool:
    """They opened their books."""
    return len(list((server.home / "usage").glob("*.seg"))) == 2


def test_what_a_home_has_once_is_there_before_its_first_workers_start(server: FaultServer) -> None:
    try:
        server.launch(MODELTAP_WORKERS="2")
        until("the workers start", lambda: is_there(server), pause_s=0.001)
        made = {name: (server.home / name).read_text() for name in ("admin.key", "pepper.key")}
        server.start_to_serve()
        assert made == {name: (server.home / name).read_text() for name in made}
    finally:
        server.close()


@pytest.mark.parametrize("moment", [is_there, has_segments])
def test_workers_that_lose_their_parent_while_they_start_end(
    server: FaultServer, moment: Callable[[FaultServer], bool]
) -> None:
    try:
        server.launch(MODELTAP_WORKERS="2")
        until("the moment has come", lambda: moment(server), pause_s=0.001)
        workers = server.worker_pids()
        server.kill()
        until("the workers end", lambda: not any(map(is_running, workers)), wait_s=30)
        server.start(MODELTAP_WORKERS="2")
        assert server.ask("GET", "/api/audit")["clean"]
        assert "Traceback" not in server.log()
    finally:
        server.close()

"""Workers whose parent was killed: whatever they were doing, they end, and nobody waits for a word that will not come."""

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

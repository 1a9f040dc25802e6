"""Models that mean harm, sent to a server: each is refused by name with what to do, nothing of it is left anywhere, no process
goes on, and the next one who asks is answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from door_world import Growth
from fault_server import FaultServer, serving, until
from foreign_graphs import sum_and_difference
from hostile_files import EVERYTHING, MARK

IMPORT = "/api/models/import"
MEGABYTES = 350
"""By which the server may grow while it looks at one of them; the largest has 100 MB unpacked."""
LARGEST_HOME_FILE = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    MARK.unlink(missing_ok=True)
    with serving(tmp_path_factory.mktemp("hostile") / "home") as made:
        yield made
    assert not MARK.exists(), "a pickle was opened"


def files_of(home: Path) -> set[Path]:
    """But those that the server keeps for itself."""
    kept = ("usage", "metrics", "run", "modeltap.db", "server.json")
    return {path for path in home.rglob("*") if not path.relative_to(home).parts[0].startswith(kept)}


def readers(server: FaultServer) -> list[psutil.Process]:
    assert server.process is not None
    return psutil.Process(server.process.pid).children(recursive=True)


@pytest.mark.parametrize("what", EVERYTHING)
def test_it_is_refused_and_leaves_nothing(server: FaultServer, what: str) -> None:
    hostile = EVERYTHING[what]
    body = hostile.make()
    (server.home / "imports").mkdir(exist_ok=True)
    before, outside = files_of(server.home), set(server.home.parent.iterdir())
    with Growth(server) as growth:
        answer = server.client.post(IMPORT, params={"name": "hostile"}, content=body)
    told = answer.json()
    assert 400 <= answer.status_code < 500 and told["code"] not in ("", "error"), answer.text
    assert hostile.told in told["detail"], told["detail"]
    assert len(told["detail"]) > 20 and str(server.home) not in answer.text and "Traceback" not in answer.text
    assert files_of(server.home) == before and set(server.home.parent.iterdir()) == outside
    assert not MARK.exists()
    assert growth.megabytes < MEGABYTES
    until("the readers end", lambda: not readers(server), pause_s=0.01)
    assert server.client.get("/readyz").status_code == 200
    assert server.client.get("/api/models").json()["models"] == []


def test_a_good_one_is_imported_after_them(server: FaultServer) -> None:
    content = sum_and_difference().SerializeToString()
    made = server.client.post(IMPORT, params={"name": "good"}, content=content)
    assert made.status_code == 201, made.text
    assert server.client.delete("/api/models/good@1").status_code < 300

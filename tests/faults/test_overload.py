"""Five times as much comes as the server can do: it goes on doing what it can in time, and tells the rest so at once.

The figures are those of a busy machine, with room; exact ones are in benchmarks/overload.py, whose load this is."""

from __future__ import annotations

import sys
from dataclasses import astuple
from pathlib import Path

from fault_server import FaultServer

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks import overload  # noqa: E402

SECONDS = 4.0
TRIES = 3
"""One of so many must be good: others want the processors too."""


def is_good(figures: overload.Figures) -> bool:
    return (
        figures.goodput >= 0.6 * figures.peak > 0
        and figures.late <= 0.25
        and figures.answered_p50_ms <= 2 * overload.DEADLINE_MS
        and not figures.refused_p50_ms > 50
    )


def deployed(home: Path) -> FaultServer:
    graph = home.with_name("heavy.onnx")
    overload.write_graph(graph)
    server = FaultServer(home).start()
    imported = server.client.post("/api/models/import", params={"name": "heavy"}, content=graph.read_bytes())
    assert imported.status_code == 201, imported.text
    terms = {"deadline_ms": overload.DEADLINE_MS}
    server.ask("POST", "/api/deployments", json={"name": "heavy", "model": "heavy@1", "terms": terms})
    return server


def test_under_five_times_its_load_a_server_does_what_it_can(tmp_path: Path) -> None:
    server = deployed(tmp_path / "home")
    try:
        found = []
        for _ in range(TRIES):
            found.append(overload.run_load(server.address[1], server.client.headers["x-api-key"], "heavy", SECONDS))
            print(found[-1])
            if is_good(found[-1]):
                break
        assert is_good(found[-1]), [astuple(figures) for figures in found]
        assert all(figures.hopeless == 0 for figures in found), "each refusal says when to come back"
        assert server.client.get("/livez").status_code == 200
    finally:
        server.close()

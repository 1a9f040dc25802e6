"""A home with 1,000 deployments and 1,000,000 usage rows beside an empty one: latency of a deployment that is warm.

Both servers serve the same graph; the large home has it under 1,000 names, of which one is called. In turns, 4 connections,
so that neither is at its limit.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.serving.graph import answer, example_picture, open_session, write_graph
from benchmarks.serving.servers.contract import Run
from benchmarks.serving.servers.modeltap import Modeltap
from benchmarks.serving.wrk import Load, run_wrk

NUM_DEPLOYMENTS = 1_000
NUM_ROWS = 1_000_000
ROWS_AT_ONCE = 50_000
ROUNDS = 5
SECONDS = 4
CONNECTIONS = 4
BUDGET = 1.2


def measure() -> str:
    """The table of medians."""
    loads: dict[str, list[Load]] = {"empty": [], "full": []}
    with tempfile.TemporaryDirectory() as scratch:
        graph = write_graph(Path(scratch) / "model.onnx")
        row = example_picture()
        expected = answer(open_session(graph), row)[0]
        with (
            _served(Path(scratch) / "empty", graph, row, expected) as empty,
            _served(Path(scratch) / "full", graph, row, expected) as full,
        ):
            _fill(Path(scratch) / "full" / "home")
            for _ in range(ROUNDS):
                for name, endpoint in (("empty", empty), ("full", full)):
                    form = endpoint.forms["binary"]
                    loads[name].append(
                        run_wrk(form, endpoint.port, seconds=SECONDS, connections=CONNECTIONS, scratch=Path(scratch))
                    )
    lines = ["| home | p50 ms | p99 ms | req/s |", "|---|---|---|---|"]
    for name, of_name in loads.items():
        told = f"{NUM_DEPLOYMENTS:,} deployments, {NUM_ROWS:,} usage rows" if name == "full" else "empty"
        p50, p99 = (_median(load, of_name) / 1e3 for load in ("p50_us", "p99_us"))
        rate = _median("rate", of_name)
        lines.append(f"| {told} | {p50:.3f} | {p99:.3f} | {rate:,.0f} |")
    ratio = _median("p99_us", loads["full"]) / _median("p99_us", loads["empty"])
    return "\n".join([*lines, "", f"p99 of the full home: {ratio:.2f} times that of the empty one; budget {BUDGET}."])


def _median(what: str, loads: list[Load]) -> float:
    return statistics.median(getattr(load, what) for load in loads)


@contextmanager
def _served(scratch: Path, graph: Path, row: Any, expected: Any) -> Any:
    scratch.mkdir()
    with Modeltap().start(Run(graph=graph, row=row, expected=expected, scratch=scratch)) as endpoint:
        yield endpoint


def _fill(home: Path) -> None:
    """Deployments and usage rows, as the server would have written them; it learns of them by one more deployment."""
    from modeltap.domain.usage import UsageRecord
    from modeltap.storage.database import Database
    from modeltap.storage.deployments import DeploymentRepository
    from modeltap.storage.opening import open_database
    from modeltap.storage.usage_tables import usage_records

    database: Database = open_database(home)
    try:
        deployments = DeploymentRepository(database, "default")
        routes = deployments.get("cnn").routes
        for number in range(NUM_DEPLOYMENTS - 1):
            deployments.put(f"other-{number}", routes, datetime.now(UTC))
        columns = [column.name for column in usage_records.columns]
        now_s = time.time()
        for first in range(0, NUM_ROWS, ROWS_AT_ONCE):
            records = [
                UsageRecord(
                    "bench",
                    n + 1,
                    f"req-{n}",
                    "default",
                    f"key{n % 50}",
                    f"other-{n % NUM_DEPLOYMENTS}",
                    "cnn@1",
                    "row",
                    1,
                    0,
                    now_s - n,
                    100,
                    100,
                    "answered",
                    "",
                    "delivered",
                )
                for n in range(first, first + ROWS_AT_ONCE)
            ]
            with database.writing() as connection:
                values = [{name: getattr(record, name) for name in columns} for record in records]
                connection.execute(usage_records.insert(), values)
    finally:
        database.close()
    _publish(home)


def _publish(home: Path) -> None:
    from modeltap.client import Client
    from modeltap.client.discovery import read_key, read_server_file

    server = read_server_file(home)
    assert server is not None, "the server runs on this home"
    with Client(server.url, read_key(home)) as client:
        client.deployments.create("cnn@1", name="last")

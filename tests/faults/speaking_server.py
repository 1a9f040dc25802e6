"""A real server that serves the tiny language model as `tiny`, with a price, and what its books say."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from fault_server import FaultServer, serving, until

from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.importing.onnx import Imported
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database

TERMS: dict[str, Any] = {"price": {"token": "0.002"}}
TOKEN_PRICE = Decimal("0.000002")


def add_to_home(home: Path, name: str, model: Imported) -> str:
    """name@version of the model, registered in the home."""
    home.mkdir(parents=True, exist_ok=True)
    database = open_database(home)
    digest = ArtifactStore(home / "artifacts").put_tree(model.files)
    version = ModelRepository(database, DEFAULT_TENANT).add(name, digest, model.manifest, None, datetime.now(UTC))
    database.close()
    return version.id


@contextmanager
def speaking(home: Path, model: Imported, **environment: str) -> Iterator[FaultServer]:
    """The server, with the model deployed as `tiny` by the public route."""
    version = add_to_home(home, "tiny", model)
    with serving(home, **environment) as server:
        server.ask("POST", "/api/deployments", json={"name": "tiny", "model": version, "terms": TERMS})
        yield server


def records(server: FaultServer) -> list[dict[str, str]]:
    """Every usage record, oldest first."""
    text = server.client.get("/api/usage.csv").text
    return list(csv.DictReader(io.StringIO(text)))


def wait_records(server: FaultServer, count: int) -> list[dict[str, str]]:
    """The same, once there are so many."""

    def look() -> list[dict[str, str]] | None:
        found = records(server)
        return found if len(found) >= count else None

    return until(f"{count} records are in the books", look)

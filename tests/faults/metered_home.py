"""A home with deployments that have a price: `double` answers at once, `spin` takes as long as it is told to."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from small_bundles import spinning_bundle, times_bundle

from modeltap.bundle.files import open_bundle
from modeltap.domain.deployment import Route
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database

ROW_PRICE = Decimal("0.0005")
"""Of one row of either deployment."""
TERMS: dict[str, Any] = {"deadline_ms": 600_000, "price": {"row": 500_000}}
"""With such a deadline no request is refused on a busy machine."""


def make_metered_home(home: Path, scratch: Path) -> None:
    """`double`: x FP32 (N, 4) → 2 x. Of `spin` only the model is there: x INT64 (N, 1) → x, after as many rounds as x says."""
    database = open_database(home)
    artifacts = ArtifactStore(home / "artifacts")
    models = ModelRepository(database, DEFAULT_TENANT)
    now = datetime.now(UTC)
    for name, files in (("double", times_bundle(scratch / "double")), ("spin", spinning_bundle(scratch / "spin"))):
        digest = artifacts.put_tree(files)
        models.add(name, digest, open_bundle(files).manifest, None, now)
    database.close()
    deploy_metered(home, "double")


def deploy_metered(home: Path, name: str, **terms: Any) -> None:
    """The name leads to its model, from the next start of the server on."""
    database = open_database(home)
    digest = ModelRepository(database, DEFAULT_TENANT).get(name).digest
    route = Route(model=name, version=1, digest=digest)
    DeploymentRepository(database, DEFAULT_TENANT).put(name, [route], datetime.now(UTC), terms={**TERMS, **terms})
    database.close()

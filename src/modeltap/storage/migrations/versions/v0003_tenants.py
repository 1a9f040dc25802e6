"""Tenants and keys; every table of theirs gets the tenant in front, and what was there belongs to `default`.

Each table is renamed, made anew and filled from the old one: SQLite cannot change a primary key. PostgreSQL takes the same way.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = (
    "datasets",
    "dataset_versions",
    "models",
    "model_versions",
    "model_aliases",
    "jobs",
    "deployments",
    "deployment_routes",
)
"""Those that others refer to come first."""
INDEXES = {"jobs": ("ix_jobs_state_created", "ix_jobs_created"), "deployment_routes": ("ix_routes_model",)}
NOTHING_SAID = "{}"
"""Limits or terms that are all as they are by default, as JSON."""


def upgrade() -> None:
    op.add_column("deployments", sa.Column("terms", sa.Text, nullable=False, server_default=NOTHING_SAID))
    columns = {name: [c["name"] for c in sa.inspect(op.get_bind()).get_columns(name)] for name in TABLES}
    for table, names in INDEXES.items():
        for name in names:
            op.drop_index(name, table_name=table)
    for name in TABLES:
        op.rename_table(name, f"old_{name}")
    _make_tenants_and_keys()
    _make_data_and_models()
    _make_jobs_and_deployments()
    for name in TABLES:
        listed = ", ".join(columns[name])
        op.execute(f"INSERT INTO {name} (tenant, {listed}) SELECT 'default', {listed} FROM old_{name}")  # noqa: S608
    for name in reversed(TABLES):
        op.drop_table(f"old_{name}")
    op.create_index("ix_jobs_state_created", "jobs", ["state", "created_at", "id"])
    op.create_index("ix_jobs_tenant_created", "jobs", ["tenant", "created_at", "id"])
    op.create_index("ix_jobs_tenant_state", "jobs", ["tenant", "state", "created_at", "id"])
    op.create_index("ix_routes_model", "deployment_routes", ["tenant", "model", "version"])
    op.create_index("ix_keys_tenant", "keys", ["tenant", "created_at", "id"])


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.String(64), primary_key=True)


def _owner() -> sa.Column[str]:
    return sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.name"), primary_key=True)


def _make_tenants_and_keys() -> None:
    tenants = op.create_table(
        "tenants",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("limits", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
    )
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    op.bulk_insert(tenants, [{"name": "default", "limits": NOTHING_SAID, "created_at": now}])
    op.create_table(
        "keys",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.name"), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("models", sa.Text),
        sa.Column("limits", sa.Text, nullable=False),
        sa.Column("secrets", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("expires_at", sa.String(27)),
        sa.Column("revoked_at", sa.String(27)),
    )


def _make_data_and_models() -> None:
    for name in ("datasets", "models"):
        op.create_table(
            name,
            _owner(),
            sa.Column("name", sa.String(64), primary_key=True),
            sa.Column("last_version", sa.Integer, nullable=False),
        )
    op.create_table(
        "dataset_versions",
        _tenant(),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("schema", sa.Text, nullable=False),
        sa.Column("num_rows", sa.Text, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(["tenant", "name"], ["datasets.tenant", "datasets.name"], name="fk_dataset_versions_name"),
    )
    op.create_table(
        "model_versions",
        _tenant(),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("job", sa.String(32), unique=True),
        sa.Column("report", sa.String(64)),
        sa.Column("evaluation", sa.Text),
        sa.Column("history", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(["tenant", "name"], ["models.tenant", "models.name"], name="fk_model_versions_name"),
    )
    op.create_table(
        "model_aliases",
        _tenant(),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("alias", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "name", "version"],
            ["model_versions.tenant", "model_versions.name", "model_versions.version"],
            name="fk_alias_version",
        ),
    )


def _make_jobs_and_deployments() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.name"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("wanted", sa.String(16), nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("pid", sa.Integer),
        sa.Column("pid_started_s", sa.Float(53)),
        sa.Column("lease_expires_at", sa.String(27)),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("started_at", sa.String(27)),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("progress", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
    )
    op.create_table(
        "deployments",
        _owner(),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("updated_at", sa.String(27), nullable=False),
    )
    op.create_table(
        "deployment_routes",
        _tenant(),
        sa.Column("deployment", sa.String(64), primary_key=True),
        sa.Column("slot", sa.String(8), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("weight", sa.Float(53), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "deployment"], ["deployments.tenant", "deployments.name"], name="fk_routes_deployment"
        ),
        sa.CheckConstraint("slot IN ('now', 'previous')", name="ck_route_slot"),
    )

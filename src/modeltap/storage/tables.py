"""The tables as they are at HEAD, and the column types that SQLite and PostgreSQL share.

`migrations/` makes them; a test holds both equal. Times are UTC as fixed-width ISO text, which sorts like the time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, kept as 2026-11-22T05:06:07.000008Z."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; use datetime.now(UTC)")
        return value.astimezone(UTC).strftime(_TIME_FORMAT)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class JsonText(TypeDecorator[Any]):
    """Any JSON-ready value or msgspec struct, kept as text and read back as plain dicts and lists; None is NULL."""

    impl = Text()
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


metadata = MetaData()


def _tenant() -> Column[str]:
    """Stands first in every table of what tenants own, and in its primary key."""
    return Column("tenant", String(64), primary_key=True)


def _owner() -> Column[str]:
    """The same where the row refers to the tenant itself, not to another row of it."""
    return Column("tenant", String(64), ForeignKey("tenants.name"), primary_key=True)


tenants = Table(
    "tenants",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("limits", JsonText(), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("tenant", String(64), ForeignKey("tenants.name"), nullable=False),
    Column("label", String(200), nullable=False),
    Column("scopes", JsonText(), nullable=False),
    Column("models", JsonText()),
    Column("limits", JsonText(), nullable=False),
    Column("secrets", JsonText(), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
    Column("expires_at", UtcTime()),
    Column("revoked_at", UtcTime()),
    Index("ix_keys_tenant", "tenant", "created_at", "id"),
)
"""Of the secrets only their digests; see domain/key.py."""

datasets = Table(
    "datasets",
    metadata,
    _owner(),
    Column("name", String(64), primary_key=True),
    Column("last_version", Integer, nullable=False),
)
"""One row a name, never removed: a version number is given once, so that a lineage stays true."""

dataset_versions = Table(
    "dataset_versions",
    metadata,
    _tenant(),
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("schema", JsonText(), nullable=False),
    Column("num_rows", JsonText(), nullable=False),
    Column("profile", JsonText(), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
    ForeignKeyConstraint(["tenant", "name"], ["datasets.tenant", "datasets.name"], name="fk_dataset_versions_name"),
)

models = Table(
    "models",
    metadata,
    _owner(),
    Column("name", String(64), primary_key=True),
    Column("last_version", Integer, nullable=False),
)
"""One row a name, never removed, as in datasets."""

model_versions = Table(
    "model_versions",
    metadata,
    _tenant(),
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("manifest", JsonText(), nullable=False),
    Column("job", String(32), unique=True),
    Column("report", String(64)),
    Column("evaluation", JsonText()),
    Column("history", JsonText(), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
    ForeignKeyConstraint(["tenant", "name"], ["models.tenant", "models.name"], name="fk_model_versions_name"),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    _tenant(),
    Column("name", String(64), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    ForeignKeyConstraint(
        ["tenant", "name", "version"],
        ["model_versions.tenant", "model_versions.name", "model_versions.version"],
        name="fk_alias_version",
    ),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(64), ForeignKey("tenants.name"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", JsonText(), nullable=False),
    Column("wanted", String(16), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("pid", Integer),
    Column("pid_started_s", Float(53)),
    Column("lease_expires_at", UtcTime()),
    Column("created_at", UtcTime(), nullable=False),
    Column("started_at", UtcTime()),
    Column("ended_at", UtcTime()),
    Column("progress", JsonText()),
    Column("result", JsonText()),
    Column("error", JsonText()),
    Column("via", String(16)),
    Column("priority", String(8), nullable=False),
    Column("threads", Integer),
    Column("memory_bytes", BigInteger),
    Column("given_threads", Integer),
    Column("retries", Integer, nullable=False),
    Column("not_before", UtcTime()),
    Column("waiting", JsonText()),
    Column("reached", Float(53)),
    Index("ix_jobs_queue", "state", "kind", "tenant", "priority", "created_at", "id"),
    Index("ix_jobs_state_created", "state", "created_at", "id"),
    Index("ix_jobs_tenant_created", "tenant", "created_at", "id"),
    Index("ix_jobs_tenant_state", "tenant", "state", "created_at", "id"),
    Index("ix_jobs_via", "tenant", "via", "kind", "created_at", "id"),
)
"""The first index is of the queue."""

job_attempts = Table(
    "job_attempts",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", UtcTime(), nullable=False),
    Column("pid", Integer),
    Column("threads", Integer),
    Column("ended_at", UtcTime()),
    Column("end", String(16)),
    Column("detail", Text),
    Column("exit_status", Integer),
    Column("signal", Integer),
    Column("log_line", Text),
    Column("peak_bytes", BigInteger),
    Index("ix_attempts_ended", "ended_at"),
)
"""Its columns are the fields of Attempt."""

deployments = Table(
    "deployments",
    metadata,
    _owner(),
    Column("name", String(64), primary_key=True),
    Column("is_default", Boolean, nullable=False),
    Column("terms", JsonText(), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
    Column("updated_at", UtcTime(), nullable=False),
)

deployment_routes = Table(
    "deployment_routes",
    metadata,
    _tenant(),
    Column("deployment", String(64), primary_key=True),
    Column("slot", String(8), CheckConstraint("slot IN ('now', 'previous')", name="ck_route_slot"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("model", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("weight", Float(53), nullable=False),
    ForeignKeyConstraint(["tenant", "deployment"], ["deployments.tenant", "deployments.name"], name="fk_routes_deployment"),
    Index("ix_routes_model", "tenant", "model", "version"),
)

stored_files = Table(
    "stored_files",
    metadata,
    _owner(),
    Column("id", String(32), primary_key=True),
    Column("key", String(80), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("made_by", String(64)),
    Column("created_at", UtcTime(), nullable=False),
    Column("expires_at", UtcTime()),
    UniqueConstraint("tenant", "made_by", name="uq_files_made_by"),
    Index("ix_files_tenant_created", "tenant", "created_at", "id"),
)
"""Of OpenAI's protocol. Its columns are the fields of StoredFile."""

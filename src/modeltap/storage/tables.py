"""The tables as they are at HEAD, and the column types that SQLite and PostgreSQL share.

`migrations/` makes them; a test holds both equal. Times are UTC as fixed-width ISO text, which sorts like the time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import (
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

datasets = Table(
    "datasets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("last_version", Integer, nullable=False),
)
"""One row a name, never removed: a version number is given once, so that a lineage stays true."""

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("name", String(64), ForeignKey("datasets.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("schema", JsonText(), nullable=False),
    Column("num_rows", JsonText(), nullable=False),
    Column("profile", JsonText(), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("last_version", Integer, nullable=False),
)
"""One row a name, never removed, as in datasets."""

model_versions = Table(
    "model_versions",
    metadata,
    Column("name", String(64), ForeignKey("models.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("manifest", JsonText(), nullable=False),
    Column("job", String(32), unique=True),
    Column("report", String(64)),
    Column("evaluation", JsonText()),
    Column("history", JsonText(), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"], name="fk_alias_version"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
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
    Index("ix_jobs_state_created", "state", "created_at", "id"),
    Index("ix_jobs_created", "created_at", "id"),
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("is_default", Boolean, nullable=False),
    Column("created_at", UtcTime(), nullable=False),
    Column("updated_at", UtcTime(), nullable=False),
)

deployment_routes = Table(
    "deployment_routes",
    metadata,
    Column("deployment", String(64), ForeignKey("deployments.name"), primary_key=True),
    Column("slot", String(8), CheckConstraint("slot IN ('now', 'previous')", name="ck_route_slot"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("model", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("weight", Float(53), nullable=False),
    Index("ix_routes_model", "model", "version"),
)

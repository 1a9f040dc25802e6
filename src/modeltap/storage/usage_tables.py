"""The tables of what was used, as they are at HEAD. Times are seconds since 1970, UTC, as in the records themselves."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, String, Table

from modeltap.storage.tables import JsonText, metadata

usage_records = Table(
    "usage_records",
    metadata,
    Column("writer", String(32), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", String(128), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("key", String(80), nullable=False),
    Column("deployment", String(64), nullable=False),
    Column("model", String(80), nullable=False),
    Column("unit", String(16), nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("accepted_at_s", Float(53), nullable=False),
    Column("queue_us", BigInteger, nullable=False),
    Column("compute_us", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("delivery", String(16), nullable=False),
    Index("ix_usage_tenant", "tenant", "accepted_at_s"),
    Index("ix_usage_key", "tenant", "key", "accepted_at_s"),
    Index("ix_usage_deployment", "tenant", "deployment", "accepted_at_s"),
    sqlite_with_rowid=False,
)
"""One row for each accepted request, as it ended. Its columns are the fields of UsageRecord, in their order."""

usage_open = Table(
    "usage_open",
    metadata,
    Column("writer", String(32), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", String(128), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("key", String(80), nullable=False),
    Column("deployment", String(64), nullable=False),
    Column("unit", String(16), nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("accepted_at_s", Float(53), nullable=False),
)
"""Requests that were accepted and had not ended when their segment was read last."""

usage_writers = Table(
    "usage_writers",
    metadata,
    Column("writer", String(32), primary_key=True),
    Column("last_number", BigInteger, nullable=False),
    Column("closed_at_s", Float(53)),
)
"""`last_number` is the highest that was read; NULL in `closed_at_s`: it may still write."""

usage_segments = Table(
    "usage_segments",
    metadata,
    Column("writer", String(32), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("is_done", Boolean, nullable=False),
    Column("lost_bytes", BigInteger, nullable=False),
)
"""How far each segment was read. `lost_bytes` follow the last whole frame of one that is done."""

idempotent_answers = Table(
    "idempotent_answers",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("key", String(80), primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("content_type", String(255), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("expires_at_s", Float(53), nullable=False),
    Index("ix_answers_expiry", "expires_at_s"),
)

limit_history = Table(
    "limit_history",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("key", String(80), primary_key=True),
    Column("from_at_s", Float(53), primary_key=True),
    Column("limits", JsonText(), nullable=False),
)
"""Which limits held from when on; `key` '' is the tenant as a whole. Before the first row there were none."""

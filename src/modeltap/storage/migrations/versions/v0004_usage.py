"""What was used: records, where their segments were read up to, answers kept for retries, and the history of limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "usage_records",
        *_identity(),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("model", sa.String(80), nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("accepted_at_s", sa.Float(53), nullable=False),
        sa.Column("queue_us", sa.BigInteger, nullable=False),
        sa.Column("compute_us", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("delivery", sa.String(16), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_usage_tenant", "usage_records", ["tenant", "accepted_at_s"])
    op.create_index("ix_usage_key", "usage_records", ["tenant", "key", "accepted_at_s"])
    op.create_index("ix_usage_deployment", "usage_records", ["tenant", "deployment", "accepted_at_s"])
    op.create_table(
        "usage_open",
        *_identity(),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("accepted_at_s", sa.Float(53), nullable=False),
    )
    op.create_table(
        "usage_writers",
        sa.Column("writer", sa.String(32), primary_key=True),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.Column("closed_at_s", sa.Float(53)),
    )
    op.create_table(
        "usage_segments",
        sa.Column("writer", sa.String(32), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("offset_bytes", sa.BigInteger, nullable=False),
        sa.Column("is_done", sa.Boolean, nullable=False),
        sa.Column("lost_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "idempotent_answers",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("idempotency_key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("content_type", sa.String(255), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("expires_at_s", sa.Float(53), nullable=False),
    )
    op.create_index("ix_answers_expiry", "idempotent_answers", ["expires_at_s"])
    op.create_table(
        "limit_history",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("from_at_s", sa.Float(53), primary_key=True),
        sa.Column("limits", sa.Text, nullable=False),
    )


def _identity() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("writer", sa.String(32), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    )

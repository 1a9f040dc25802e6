"""Files that clients of OpenAI's protocol send and fetch, and through which door a job came."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "stored_files",
        sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.name"), primary_key=True),
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("made_by", sa.String(64)),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("expires_at", sa.String(27)),
        sa.UniqueConstraint("tenant", "made_by", name="uq_files_made_by"),
    )
    op.create_index("ix_files_tenant_created", "stored_files", ["tenant", "created_at", "id"])
    op.add_column("jobs", sa.Column("via", sa.String(16)))
    op.create_index("ix_jobs_via", "jobs", ["tenant", "via", "kind", "created_at", "id"])

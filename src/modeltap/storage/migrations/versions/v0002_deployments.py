"""Deployments and what they route to, now and before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("updated_at", sa.String(27), nullable=False),
    )
    op.create_table(
        "deployment_routes",
        sa.Column("deployment", sa.String(64), sa.ForeignKey("deployments.name"), primary_key=True),
        sa.Column("slot", sa.String(8), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("weight", sa.Float(53), nullable=False),
        sa.CheckConstraint("slot IN ('now', 'previous')", name="ck_route_slot"),
    )
    op.create_index("ix_routes_model", "deployment_routes", ["model", "version"])

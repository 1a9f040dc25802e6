"""How every runner of a job ended; what a job may have, how urgent it is, and until when it waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

RUNNING = """
INSERT INTO job_attempts (job, number, started_at, pid)
SELECT id, fence, COALESCE(started_at, created_at), pid FROM jobs WHERE state = 'running'
"""
"""A runner that lives through the upgrade has its attempt too."""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("priority", sa.String(8), nullable=False, server_default="normal"))
    op.add_column("jobs", sa.Column("threads", sa.Integer))
    op.add_column("jobs", sa.Column("memory_bytes", sa.BigInteger))
    op.add_column("jobs", sa.Column("given_threads", sa.Integer))
    op.add_column("jobs", sa.Column("retries", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("not_before", sa.String(27)))
    op.add_column("jobs", sa.Column("waiting", sa.Text))
    op.add_column("jobs", sa.Column("reached", sa.Float(53)))
    op.create_index("ix_jobs_queue", "jobs", ["state", "kind", "tenant", "priority", "created_at", "id"])
    op.create_table(
        "job_attempts",
        sa.Column("job", sa.String(32), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("started_at", sa.String(27), nullable=False),
        sa.Column("pid", sa.Integer),
        sa.Column("threads", sa.Integer),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("end", sa.String(16)),
        sa.Column("detail", sa.Text),
        sa.Column("exit_status", sa.Integer),
        sa.Column("signal", sa.Integer),
        sa.Column("log_line", sa.Text),
        sa.Column("peak_bytes", sa.BigInteger),
    )
    op.create_index("ix_attempts_ended", "job_attempts", ["ended_at"])
    op.execute(RUNNING)

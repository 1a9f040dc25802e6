"""Notes which limits hold from when on, in the transaction that changes them."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, insert, select

from modeltap.domain.tenant import Limits
from modeltap.storage.usage_tables import limit_history

STEP_S = 1e-3
"""Between two changes of the same limits at one moment, so that the later one is known as such."""


def record_limits(connection: Connection, tenant: str, key: str, limits: Limits, at: datetime) -> None:
    """`key` '' is the tenant as a whole. What they already were is not written again."""
    columns = limit_history.c
    of_subject = (columns.tenant == tenant) & (columns.key == key)
    newest = select(columns.from_at_s, columns.limits).where(of_subject).order_by(columns.from_at_s.desc()).limit(1)
    row = connection.execute(newest).first()
    if limits == (Limits() if row is None else msgspec.convert(row.limits, Limits)):
        return
    from_at_s = at.timestamp() if row is None else max(at.timestamp(), row.from_at_s + STEP_S)
    connection.execute(insert(limit_history).values(tenant=tenant, key=key, from_at_s=from_at_s, limits=limits))

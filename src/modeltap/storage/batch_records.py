"""What the requests of a batch left in the database: what one of them was charged, and answers that were kept for a retry."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select

from modeltap.storage.database import Database
from modeltap.storage.usage_tables import idempotent_answers, usage_records


class BatchRecords:
    """Of one key of a tenant. Every method is one transaction."""

    def __init__(self, database: Database, tenant: str, key: str) -> None:
        self._database = database
        self._tenant = tenant
        self._key = key

    def charged_nano(self, request_id: str, *, since_s: float) -> int:
        """What all requests of that id were charged that were accepted since then, as far as they were brought in."""
        columns = usage_records.c
        query = select(func.coalesce(func.sum(columns.cost_nano), 0)).where(
            columns.tenant == self._tenant,
            columns.key == self._key,
            columns.accepted_at_s >= since_s,
            columns.request_id == request_id,
        )
        with self._database.reading() as connection:
            return int(connection.scalar(query) or 0)

    def forget_answers(self, idempotency_keys: Sequence[str]) -> None:
        """These are not needed for a retry any more; there is no harm in naming one that is not there."""
        columns = idempotent_answers.c
        of_key = columns.tenant == self._tenant, columns.key == self._key
        with self._database.writing() as connection:
            connection.execute(delete(idempotent_answers).where(*of_key, columns.idempotency_key.in_(idempotency_keys)))

"""What was used, by whom and for how much: sums, and every record as CSV. What lies in segments is read in first."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.money import show_budget
from modeltap.domain.quota import QuotaBook, Spent
from modeltap.domain.quota_counters import Subject
from modeltap.domain.tenant import Limits
from modeltap.domain.usage import UsageRecord
from modeltap.errors import InvalidInput, nearest
from modeltap.storage.database import Database
from modeltap.storage.segments_ingest import Ingested, close_dead_writers, close_writer, ingest, unread_bytes
from modeltap.storage.usage import DIMENSIONS, Chosen, Dimension, UsageRepository, UsageSum

CSV_COLUMNS = (
    "accepted_at",
    "request_id",
    "tenant",
    "key",
    "deployment",
    "model",
    "unit",
    "units",
    "cost",
    "queue_us",
    "compute_us",
    "status",
    "code",
    "delivery",
    "writer",
    "number",
)
CSV_ROWS = 500
"""In one piece of text."""


class Usage:
    """`folder` is where this home's segments lie."""

    def __init__(self, database: Database, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock
        self._usage = UsageRepository(database)

    def ingest(self) -> Ingested:
        """Reads on in all segments. To be called every few seconds by one process."""
        return ingest(self._database, self._folder, self._clock())

    def unread_bytes(self) -> int:
        """Of usage that was written and is not in the database yet."""
        return unread_bytes(self._database, self._folder)

    def close_writer(self, writer: str) -> dict[Subject, Spent]:
        """Ends a writer whose process died; what it spent in this day and month, of every subject that its records name."""
        now_s = self._clock()
        close_writer(self._database, self._folder, writer, now_s)
        return self._usage.spent_by(writer, now_s)

    def close_dead_writers(self) -> list[str]:
        """Ends all writers whose processes are gone; which they were. To be called before limits are restored."""
        return close_dead_writers(self._database, self._folder, self._clock())

    def restore_limits(self, book: QuotaBook, limits: Mapping[Subject, Limits]) -> None:
        """The book holds these limits now. A subject that it did not count before gets what its records say: of its window
        and of its budgets."""
        now_s = self._clock()
        self.ingest()
        fresh = [subject for subject, wanted in limits.items() if wanted != Limits() and book.counters(subject) is None]
        with_budget = book.uncounted(limits)
        spent = self._usage.spent(with_budget, now_s) if with_budget else {}
        recent = self._usage.recent(fresh, now_s) if fresh else []
        book.replace_limits(limits, spent, now_s)
        book.restore(recent, now_s, only=fresh)

    def find(self, tenant: str, key: str, idempotency_key: str) -> StoredAnswer | None:
        """The answer that was charged under this idempotency key in the last 24 hours, by any process of the home."""
        self.ingest()
        return self._usage.find_answer(tenant, key, idempotency_key, self._clock())

    def sums(self, by: Sequence[str], chosen: Chosen) -> tuple[UsageSum, ...]:
        """One for each group and unit. Raises InvalidInput for an unknown dimension."""
        dimensions = parse_dimensions(by)
        self.ingest()
        return self._usage.sums(dimensions, chosen)

    def csv(self, chosen: Chosen) -> Iterator[str]:
        """The head, then a row for each record in the order of their acceptance, in pieces of some rows."""
        self.ingest()
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(CSV_COLUMNS)
        for number, record in enumerate(self._usage.records(chosen), start=1):
            rows.writerow(_csv_row(record))
            if number % CSV_ROWS == 0:
                yield text.getvalue()
                text.seek(0)
                text.truncate()
        yield text.getvalue()


def parse_dimensions(given: Sequence[str]) -> tuple[Dimension, ...]:
    """Each once, in the order given. Raises InvalidInput for what records are not grouped by."""
    for name in given:
        if name not in DIMENSIONS:
            raise InvalidInput(f"usage is not grouped by '{name}'{nearest(name, DIMENSIONS)}", fields=[("by", "unknown")])
    return tuple(name for name in dict.fromkeys(given) if name in DIMENSIONS)


def parse_moment(given: str, field: str) -> float:
    """UTC seconds of a date (its first moment) or of an ISO time; one without a zone is UTC. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise InvalidInput(
            f"{field} is '{given[:40]}'; give a date as 2026-11-22, or a time as 2026-11-22T05:06:07Z",
            fields=[(field, "not a time")],
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def day_text(day: int) -> str:
    """2026-11-22 for a number of days since 1970-01-01."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _csv_row(record: UsageRecord) -> tuple[str | int, ...]:
    moment = datetime.fromtimestamp(record.accepted_at_s, UTC).isoformat(timespec="microseconds")
    return (
        moment.replace("+00:00", "Z"),
        record.request_id,
        record.tenant,
        record.key,
        record.deployment,
        record.model,
        record.unit,
        record.units,
        show_budget(record.cost_nano),
        record.queue_us,
        record.compute_us,
        record.status,
        record.code,
        record.delivery,
        record.writer,
        record.number,
    )

"""What was used, as the database has it: sums, rows, answers kept for retries, and which limits held when."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import ColumnElement, Integer, Row, Select, case, cast, func, insert, select, tuple_

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.quota import Spent
from modeltap.domain.quota_counters import BUCKETS, DAY_S, Subject, month_of, month_start_s
from modeltap.domain.tenant import ADMIN_KEY_ID, Limits
from modeltap.domain.usage import UsageRecord
from modeltap.storage.database import Database
from modeltap.storage.segments_compare import keep_one_view
from modeltap.storage.usage_tables import (
    idempotent_answers,
    limit_history,
    usage_open,
    usage_records,
    usage_segments,
    usage_writers,
)

Dimension = Literal["tenant", "key", "deployment", "model", "day"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
PAGE_ROWS = 5_000
MAX_KEYS = 1_000
"""More are not named one by one in a query."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which records: those of a tenant, key or deployment, accepted from `since_s` on and before `until_s`; None is all."""

    tenant: str | None = None
    key: str | None = None
    deployment: str | None = None
    since_s: float | None = None
    until_s: float | None = None


class UsageSum(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the records of one group come to; of the dimensions only those that it is grouped by are given.

    Units of different kinds are never added up: `unit` is a dimension of every group.
    """

    tenant: str | None = None
    key: str | None = None
    deployment: str | None = None
    model: str | None = None
    day: int | None = None
    """Since 1970-01-01, UTC."""
    unit: str
    requests: int
    answered: int
    units: int
    cost_nano: int
    compute_us: int


class WriterState(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of one writer: its numbers are those of its records and of its open requests together."""

    writer: str
    is_closed: bool
    num_records: int
    num_open: int
    num_doubled: int
    """Both ended and open."""
    lowest: int
    highest: int
    """The highest that was ever read of it."""
    num_unknown: int
    lost_bytes: int

    @property
    def num_numbers(self) -> int:
        return self.num_records + self.num_open - self.num_doubled


class UsageRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    def sums(self, by: Sequence[Dimension], chosen: Chosen) -> tuple[UsageSum, ...]:
        """One for each group, in the order of the dimensions."""
        with self._database.reading() as connection:
            is_sqlite = connection.dialect.name == "sqlite"
            columns = [(_day(is_sqlite) if name == "day" else usage_records.c[name]).label(name) for name in by]
            columns.append(usage_records.c.unit.label("unit"))
            answered = func.sum(case((usage_records.c.status == "answered", 1), else_=0))
            query = select(
                *columns,
                func.count().label("requests"),
                answered.label("answered"),
                *(func.sum(usage_records.c[name]).label(name) for name in ("units", "cost_nano", "compute_us")),
            )
            grouped = _of(query, chosen).group_by(*columns).order_by(*columns)
            rows = connection.execute(grouped).all()
        return tuple(_usage_sum(row) for row in rows)

    def records(self, chosen: Chosen) -> Iterator[UsageRecord]:
        """All of them in the order in which they were accepted, read page by page."""
        order = usage_records.c.accepted_at_s, usage_records.c.writer, usage_records.c.number
        query = _of(select(usage_records), chosen).order_by(*order).limit(PAGE_ROWS)
        last: UsageRecord | None = None
        while True:
            page = query
            if last is not None:
                page = query.where(tuple_(*order) > tuple_(last.accepted_at_s, last.writer, last.number))
            with self._database.reading() as connection:
                found = [UsageRecord(*row) for row in connection.execute(page)]
            yield from found
            if len(found) < PAGE_ROWS:
                return
            last = found[-1]

    def recent(self, subjects: Collection[Subject], now_s: float) -> list[UsageRecord]:
        """The records that the windows of these subjects still hold, each once."""
        whole = {subject.tenant for subject in subjects if not subject.key}
        chosen = [Chosen(tenant=tenant, since_s=now_s - BUCKETS) for tenant in sorted(whole)]
        chosen += [
            Chosen(tenant=subject.tenant, key=subject.key, since_s=now_s - BUCKETS)
            for subject in sorted(subjects)
            if subject.key and subject.tenant not in whole
        ]
        return [record for one in chosen for record in self.records(one)]

    def spent(self, subjects: Collection[Subject], now_s: float) -> dict[Subject, Spent]:
        """What each spent in the day and in the month of `now_s`."""
        day = int(now_s) // DAY_S
        columns = usage_records.c
        today = func.sum(case((columns.accepted_at_s >= day * DAY_S, columns.cost_nano), else_=0))
        spent = dict.fromkeys(subjects, Spent())
        with self._database.reading() as connection:
            for tenant in sorted({subject.tenant for subject in subjects}):
                since_s = month_start_s(month_of(day))
                query = select(columns.key, today, func.sum(columns.cost_nano)).group_by(columns.key)
                query = query.where(columns.tenant == tenant, columns.accepted_at_s >= since_s)
                keys = [subject.key for subject in subjects if subject.tenant == tenant]
                if "" not in keys and len(keys) <= MAX_KEYS:
                    query = query.where(columns.key.in_(keys))
                for key, of_day, of_month in connection.execute(query):
                    _add_spent(spent, tenant, key, Spent(int(of_day), int(of_month)))
        return {subject: spent[subject] for subject in subjects}

    def spent_by(self, writer: str, now_s: float) -> dict[Subject, Spent]:
        """The same of every subject that the records of one writer name."""
        day = int(now_s) // DAY_S
        columns = usage_records.c
        today = func.sum(case((columns.accepted_at_s >= day * DAY_S, columns.cost_nano), else_=0))
        query = select(columns.tenant, columns.key, today, func.sum(columns.cost_nano)).group_by(columns.tenant, columns.key)
        query = query.where(columns.writer == writer, columns.accepted_at_s >= month_start_s(month_of(day)))
        spent: dict[Subject, Spent] = {}
        with self._database.reading() as connection:
            for tenant, key, of_day, of_month in connection.execute(query):
                _add_spent(spent, tenant, key, Spent(int(of_day), int(of_month)))
        return spent

    def find_answer(self, tenant: str, key: str, idempotency_key: str, now_s: float) -> StoredAnswer | None:
        """The answer that was charged under this idempotency key, unless it is too old."""
        columns = idempotent_answers.c
        query = select(columns.idempotency_key, columns.fingerprint, columns.status, columns.content_type, columns.body).where(
            columns.tenant == tenant,
            columns.key == key,
            columns.idempotency_key == idempotency_key,
            columns.expires_at_s > now_s,
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else StoredAnswer(*row)

    def writers(self) -> list[WriterState]:
        """All there ever were, the oldest first."""
        records, opened, known = usage_records.c, usage_open.c, usage_writers.c
        unknown = func.sum(case((records.delivery == "unknown", 1), else_=0))
        ended = select(records.writer, func.count(), func.min(records.number), func.max(records.number), unknown)
        still = select(opened.writer, func.count(), func.min(opened.number), func.max(opened.number))
        both = select(opened.writer, func.count()).join(
            usage_records, (records.writer == opened.writer) & (records.number == opened.number)
        )
        lost = select(usage_segments.c.writer, func.sum(usage_segments.c.lost_bytes)).group_by(usage_segments.c.writer)
        with self._database.reading() as connection:
            keep_one_view(connection)
            of_ended = {row[0]: row for row in connection.execute(ended.group_by(records.writer))}
            of_still = {row[0]: row for row in connection.execute(still.group_by(opened.writer))}
            of_both = {row[0]: int(row[1]) for row in connection.execute(both.group_by(opened.writer))}
            of_lost = {row[0]: int(row[1]) for row in connection.execute(lost)}
            rows = connection.execute(select(usage_writers).order_by(known.writer)).all()
        states = []
        for row in rows:
            done, going = of_ended.get(row.writer), of_still.get(row.writer)
            lows = [int(found[2]) for found in (done, going) if found is not None]
            highs = [int(found[3]) for found in (done, going) if found is not None]
            states.append(
                WriterState(
                    writer=row.writer,
                    is_closed=row.closed_at_s is not None,
                    num_records=0 if done is None else int(done[1]),
                    num_open=0 if going is None else int(going[1]),
                    num_doubled=of_both.get(row.writer, 0),
                    lowest=min(lows, default=1),
                    highest=max([row.last_number, *highs]),
                    num_unknown=0 if done is None else int(done[4]),
                    lost_bytes=of_lost.get(row.writer, 0),
                )
            )
        return states

    def note_limits(self, limits: Mapping[Subject, Limits], now_s: float) -> None:
        """From now on these hold; what they already were is not written again. To be called before they are published."""
        with self._database.writing() as connection:
            for subject, wanted in limits.items():
                columns = limit_history.c
                at = columns.tenant == subject.tenant, columns.key == subject.key
                newest = select(columns.from_at_s, columns.limits).where(*at).order_by(columns.from_at_s.desc()).limit(1)
                row = connection.execute(newest).first()
                if wanted != (Limits() if row is None else msgspec.convert(row.limits, Limits)):
                    from_at_s = now_s if row is None else max(now_s, row.from_at_s + 1e-3)
                    values = {"tenant": subject.tenant, "key": subject.key, "from_at_s": from_at_s, "limits": wanted}
                    connection.execute(insert(limit_history).values(values))

    def limit_history(self) -> dict[Subject, list[tuple[float, Limits]]]:
        """From when on which limits held, oldest first; before the first there were none."""
        history: dict[Subject, list[tuple[float, Limits]]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(select(limit_history).order_by(limit_history.c.from_at_s)):
                held = row.from_at_s, msgspec.convert(row.limits, Limits)
                history.setdefault(Subject(row.tenant, row.key), []).append(held)
        return history


def _add_spent(spent: dict[Subject, Spent], tenant: str, key: str, more: Spent) -> None:
    """To the key, and to its tenant; the home's own admin key has no limits, nor counts for a tenant's."""
    for subject in (Subject(tenant, key), Subject(tenant)):
        if subject.key or key != ADMIN_KEY_ID:
            before = spent.get(subject, Spent())
            spent[subject] = Spent(before.day_nano + more.day_nano, before.month_nano + more.month_nano)


def _of(query: Select[Any], chosen: Chosen) -> Select[Any]:
    columns = usage_records.c
    for name in ("tenant", "key", "deployment"):
        wanted = getattr(chosen, name)
        if wanted is not None:
            query = query.where(columns[name] == wanted)
    if chosen.since_s is not None:
        query = query.where(columns.accepted_at_s >= chosen.since_s)
    if chosen.until_s is not None:
        query = query.where(columns.accepted_at_s < chosen.until_s)
    return query


def _day(is_sqlite: bool) -> ColumnElement[int]:
    """A cast cuts off in SQLite, and rounds in PostgreSQL."""
    days = usage_records.c.accepted_at_s / float(DAY_S)
    return cast(days if is_sqlite else func.floor(days), Integer)


def _usage_sum(row: Row[Any]) -> UsageSum:
    values = {name: value if isinstance(value, str) else int(value) for name, value in row._mapping.items()}
    return msgspec.convert(values, UsageSum)

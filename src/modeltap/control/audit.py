"""Proves the books: no number is missing or doubled, files and database say the same, and no limit was ever passed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from modeltap.control.usage import day_text
from modeltap.domain.money import show_budget
from modeltap.domain.quota_counters import DAY_S, WINDOW_S, Subject, month_of, month_start_s
from modeltap.domain.tenant import ADMIN_KEY_ID, Limits
from modeltap.domain.usage import UsageRecord
from modeltap.storage.database import Database
from modeltap.storage.segments import is_alive
from modeltap.storage.segments_compare import differences
from modeltap.storage.segments_ingest import ingest
from modeltap.storage.usage import Chosen, UsageRepository

Rule = Literal["numbers", "segments", "open", "rpm", "upm", "budget_day", "budget_month"]
MAX_FINDINGS = 20
"""Of one rule and one subject or writer; the rest is counted."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that should never be."""

    rule: Rule
    of: str
    """The writer, key or tenant."""
    detail: str


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    clean: bool
    """Nothing was found."""
    findings: tuple[Finding, ...]
    num_records: int
    num_writers: int
    num_subjects: int
    """With limits, now or before, whose windows and budgets were checked."""
    unknown: dict[str, int]
    """Writer → answers of which nobody knows whether they arrived: their process died, or the connection did."""
    lost_bytes: dict[str, int]
    """Writer → bytes behind its last whole frame, as a process leaves them that dies while it writes."""


def audit(database: Database, folder: Path, *, clock: Callable[[], float] = time.time) -> AuditReport:
    """Reads all segments in, then checks every record there is. Raises StorageFailed, Unavailable."""
    ingest(database, folder, clock())
    usage = UsageRepository(database)
    writers = usage.writers()
    findings: list[Finding] = []
    for writer in writers:
        if writer.num_numbers != writer.highest or writer.num_doubled or writer.lowest > 1:
            findings.append(
                Finding(
                    rule="numbers",
                    of=writer.writer,
                    detail=f"{writer.num_numbers:,} different numbers from {writer.lowest} to {writer.highest:,},"
                    f" {writer.num_doubled:,} of them both open and ended",
                )
            )
        if writer.num_open and (writer.is_closed or not is_alive(folder, writer.writer)):
            findings.append(
                Finding(
                    rule="open",
                    of=writer.writer,
                    detail=f"{writer.num_open:,} requests have no end, and the process that accepted them is gone;"
                    " a start of the server closes it",
                )
            )
    for writer_id, detail in differences(database, folder):
        findings.append(Finding(rule="segments", of=writer_id, detail=detail))
    history = usage.limit_history()
    for subject, held in sorted(history.items()):
        findings += _check_subject(usage, subject, held)
    return AuditReport(
        clean=not findings,
        findings=tuple(findings),
        num_records=sum(writer.num_records for writer in writers),
        num_writers=len(writers),
        num_subjects=len(history),
        unknown={writer.writer: writer.num_unknown for writer in writers if writer.num_unknown},
        lost_bytes={writer.writer: writer.lost_bytes for writer in writers if writer.lost_bytes},
    )


History = list[tuple[float, Limits]]


def _check_subject(usage: UsageRepository, subject: Subject, history: History) -> list[Finding]:
    records = usage.records(Chosen(tenant=subject.tenant, key=subject.key or None))
    counted = (record for record in records if subject.key or record.key != ADMIN_KEY_ID)
    check = _Check(subject, history)
    for record in counted:
        check.add(record)
    return check.findings()


class _Check:
    """One pass over the records of a subject, in the order in which they were accepted."""

    def __init__(self, subject: Subject, history: History) -> None:
        self._subject = subject
        self._history = history
        self._window: deque[tuple[float, int]] = deque()
        self._units = 0
        self._days: dict[int, int] = {}
        self._found: list[Finding] = []
        self._num_more: dict[Rule, int] = {}

    def add(self, record: UsageRecord) -> None:
        at_s = record.accepted_at_s
        while self._window and self._window[0][0] < at_s - WINDOW_S:
            self._units -= self._window.popleft()[1]
        self._window.append((at_s, record.units))
        self._units += record.units
        self._days[int(at_s) // DAY_S] = self._days.get(int(at_s) // DAY_S, 0) + record.cost_nano
        rpm = self._most("rpm", at_s - WINDOW_S, at_s)
        if rpm is not None and len(self._window) > rpm:
            self._tell("rpm", f"{len(self._window):,} requests in the 60 s up to {at_s:.6f}; the limit was {rpm:,}")
        upm = self._most("upm", at_s - WINDOW_S, at_s)
        if upm is not None and self._units > upm:
            self._tell("upm", f"{self._units:,} units in the 60 s up to {at_s:.6f}; the limit was {upm:,}")

    def findings(self) -> list[Finding]:
        months: dict[int, int] = {}
        for day, nano in self._days.items():
            months[month_of(day)] = months.get(month_of(day), 0) + nano
            most = self._most("budget_day_nano", day * DAY_S, (day + 1) * DAY_S)
            if most is not None and nano > most:
                self._tell("budget_day", f"{show_budget(nano)} on {day_text(day)}; the budget was {show_budget(most)}")
        for month, nano in months.items():
            most = self._most("budget_month_nano", month_start_s(month), month_start_s(month + 1))
            if most is not None and nano > most:
                first = day_text(month_start_s(month) // DAY_S)
                self._tell("budget_month", f"{show_budget(nano)} in the month from {first}; the budget was {show_budget(most)}")
        for rule, number in self._num_more.items():
            if number > MAX_FINDINGS:
                self._found.append(self._finding(rule, f"and {number - MAX_FINDINGS:,} more like these"))
        return self._found

    def _most(self, name: str, since_s: float, until_s: float) -> int | None:
        """The largest limit that held at any moment of this time; None is no limit."""
        most = -1
        for index, (from_s, limits) in enumerate(self._history):
            ends_s = self._history[index + 1][0] if index + 1 < len(self._history) else float("inf")
            if from_s <= until_s and ends_s > since_s:
                limit: int | None = getattr(limits, name)
                if limit is None:
                    return None
                most = max(most, limit)
        return None if most < 0 or since_s < self._history[0][0] else most

    def _tell(self, rule: Rule, detail: str) -> None:
        self._num_more[rule] = self._num_more.get(rule, 0) + 1
        if self._num_more[rule] <= MAX_FINDINGS:
            self._found.append(self._finding(rule, detail))

    def _finding(self, rule: Rule, detail: str) -> Finding:
        name = f"key {self._subject.key} of {self._subject.tenant}" if self._subject.key else f"tenant {self._subject.tenant}"
        return Finding(rule=rule, of=name, detail=detail)

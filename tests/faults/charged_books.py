"""What the server has on record, held against what its clients know: every answer once, to the last unit, within the limits."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from charged_clients import Held, Ledger
from fault_server import FaultServer, until
from metered_home import ROW_PRICE

WINDOW_S = 60.0
OVERLAP = timedelta(seconds=2)
"""Records are asked for from so long before the last comparison on: clocks are compared, and no record must be missed."""
Record = dict[str, str]


def read_records(server: FaultServer, **chosen: str) -> list[Record]:
    """The usage of the home as the server exports it."""
    answer = server.client.get("/api/usage.csv", params=chosen)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def audited(server: FaultServer) -> None:
    """The server finds its own books in order."""
    report = server.ask("GET", "/api/audit")
    assert report["clean"], report


class Books:
    """Of one home. Each comparison is of what happened since the one before."""

    def __init__(self, server: FaultServer, ledger: Ledger, limits: dict[str, int]) -> None:
        """`limits`: key → units in any 60 seconds."""
        self._server = server
        self._ledger = ledger
        self._limits = limits
        self._since = datetime.now(UTC)
        self._request_ids: set[str] = set()
        self._numbers: set[tuple[str, str]] = set()
        self._charged: dict[str, set[str]] = defaultdict(set)
        self._granted: dict[str, list[Held]] = {key: [] for key in limits}

    def compare(self, *, max_unknown: int) -> None:
        """Fails where the records and the clients do not agree. `max_unknown`: answers of which it may be unknown whether they
        arrived."""
        until("the deliveries are on record", lambda: self._num_unknown() <= max_unknown, wait_s=10)
        audited(self._server)
        records = self._new_records()
        answered = {record["request_id"]: record for record in records if record["status"] == "answered"}
        held, lost = self._ledger.held, self._ledger.lost
        for request_id, one in held.items():
            if one.is_replayed:
                assert request_id not in answered, "a replayed answer was charged again"
            else:
                assert request_id in answered, f"{request_id} was answered, and has no record"
                record = answered[request_id]
                assert (int(record["units"]), Decimal(record["cost"])) == (one.sent.units, one.cost)
                assert one.cost == one.sent.units * ROW_PRICE
        for request_id, record in answered.items():
            assert request_id in held or request_id in lost, f"{request_id} was charged, and nobody asked for it"
            if request_id in lost:
                assert int(record["units"]) == lost[request_id].units
        for record in records:
            if record["status"] != "answered":
                assert (record["units"], record["cost"], record["delivery"]) == ("0", "0", "none"), record
        self._compare_retries(answered)
        self._compare_windows()
        held.clear()
        lost.clear()

    def _num_unknown(self) -> int:
        return sum(record["delivery"] == "unknown" for record in self._since_last(self._read()))

    def _read(self) -> list[Record]:
        return read_records(self._server, since=f"{self._since - OVERLAP:%Y-%m-%dT%H:%M:%S.%fZ}")

    def _since_last(self, found: list[Record]) -> list[Record]:
        return [record for record in found if (record["writer"], record["number"]) not in self._numbers]

    def _new_records(self) -> list[Record]:
        found = self._read()
        self._since = datetime.now(UTC)
        records = self._since_last(found)
        self._numbers = {(record["writer"], record["number"]) for record in found}
        for record in records:
            assert record["request_id"] not in self._request_ids, f"{record['request_id']} has two records"
            self._request_ids.add(record["request_id"])
        return records

    def _compare_retries(self, answered: dict[str, Record]) -> None:
        """Under an Idempotency-Key one request was charged, and exactly one if anybody holds its answer."""
        held, lost = self._ledger.held, self._ledger.lost
        sent = {**{name: one.sent for name, one in held.items()}, **lost}
        for request_id in answered:
            if sent[request_id].idempotency_key:
                self._charged[sent[request_id].idempotency_key].add(request_id)
        for one in sent.values():
            if one.idempotency_key:
                most = len(self._charged[one.idempotency_key])
                assert most <= 1, f"{one.idempotency_key} was charged {most} times"
                assert most == 1 or one.request_id in lost, f"{one.idempotency_key} was answered and not charged"

    def _compare_windows(self) -> None:
        """What a client held within 60 seconds by its own clock was granted within less."""
        for one in self._ledger.held.values():
            if one.sent.key_id in self._granted and not one.is_replayed:
                self._granted[one.sent.key_id].append(one)
        for key_id, granted in self._granted.items():
            granted.sort(key=lambda one: one.sent.began_s)
            for first in granted:
                until_s = first.sent.began_s + WINDOW_S
                units = sum(
                    one.sent.units for one in granted if first.sent.began_s <= one.sent.began_s and one.ended_s <= until_s
                )
                assert units <= self._limits[key_id], f"{units} units were granted in 60 s; the limit is {self._limits[key_id]}"
            newest_s = max((one.ended_s for one in granted), default=0.0)
            self._granted[key_id] = [one for one in granted if one.sent.began_s >= newest_s - WINDOW_S]

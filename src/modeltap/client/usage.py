"""`client.usage`: what was used, by whom and for how much, and whether the books are right."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from modeltap.client.transport import Transport
from modeltap.client.values import Answer, read_answer

Moment = date | str
"""A date is its first moment; a time without a zone is UTC. As text both are ISO 8601."""
AUDIT_TIMEOUT_S = 3600.0
"""An audit reads every record there is."""
CSV_PATH = "/api/usage.csv"


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """What the records of one group come to; of the dimensions only those that it is grouped by are given. `cost` is exact, in
    the server's currency; `compute_us` are microseconds of an engine's time."""

    tenant: str | None = None
    key: str | None = None
    deployment: str | None = None
    model: str | None = None
    day: date | None = None
    unit: str
    requests: int
    answered: int
    units: int
    cost: Decimal
    compute_us: int


class UsageReport(Answer, frozen=True, kw_only=True):
    """`totals`: all sums together, one for each unit. `tenant` None is all of them."""

    currency: str
    tenant: str | None = None
    by: tuple[str, ...] = ()
    sums: tuple[UsageSum, ...]
    totals: tuple[UsageSum, ...]

    @property
    def cost(self) -> Decimal:
        """Of everything together."""
        return sum((total.cost for total in self.totals), Decimal())


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that should never be: the rule that is broken, whose records break it, and what to do."""

    rule: str
    of: str
    detail: str
    advice: str = ""


class Audit(Answer, frozen=True, kw_only=True):
    """`is_clean`: nothing was found. `unknown`: writer → answers of which nobody knows whether they arrived."""

    is_clean: bool = msgspec.field(name="clean")
    findings: tuple[Finding, ...]
    num_records: int
    num_writers: int = 0
    num_subjects: int = 0
    unknown: dict[str, int] = msgspec.field(default_factory=dict)
    lost_bytes: dict[str, int] = msgspec.field(default_factory=dict)


class Usage:
    """Of the tenant that the client acts for; with the admin key and no tenant named, of all."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def sums(
        self,
        by: Sequence[str] = (),
        *,
        key: str | None = None,
        deployment: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> UsageReport:
        """Requests, units and cost, grouped by any of tenant, key, deployment, model and day.

        since, until: of the moment at which a request was accepted; `until` itself is left out. Raises InvalidInput.
        """
        params = {**_params(key, deployment, since, until), "by": list(by)}
        return read_answer(self._transport.json("GET", "/api/usage", params=params), UsageReport)

    def write_csv(
        self,
        path: str | os.PathLike[str],
        *,
        key: str | None = None,
        deployment: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> int:
        """The size in bytes of the written file: every record a row; it appears when it is complete. Raises StorageFailed."""
        chosen = _params(key, deployment, since, until)
        return self._transport.download(CSV_PATH, Path(path).expanduser(), params=chosen, on_bytes=on_bytes)

    def read_csv(
        self,
        *,
        key: str | None = None,
        deployment: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> Iterator[bytes]:
        """The same, piece by piece. Raises ConnectionFailed where it breaks before its end."""
        with self._transport.stream(CSV_PATH, params=_params(key, deployment, since, until)) as response:
            yield from response.iter_bytes()

    def audit(self) -> Audit:
        """Checks every record of the home; takes the admin key."""
        return read_answer(self._transport.json("GET", "/api/audit", timeout_s=AUDIT_TIMEOUT_S), Audit)


def _params(key: str | None, deployment: str | None, since: Moment | None, until: Moment | None) -> dict[str, Any]:
    params = {"key": key, "deployment": deployment, "since": _moment(since), "until": _moment(until)}
    return {name: value for name, value in params.items() if value is not None}


def _moment(given: Moment | None) -> str | None:
    return given.isoformat() if isinstance(given, date) else given

"""/api/usage, /api/usage.csv and /api/audit: what was used, by whom and for how much, and whether the books are right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from modeltap.api.access import caller
from modeltap.api.services import Use
from modeltap.control.audit import Rule
from modeltap.control.usage import day_text, parse_dimensions, parse_moment
from modeltap.domain.money import show_budget
from modeltap.errors import InvalidInput
from modeltap.storage.usage import Chosen, UsageSum

router = APIRouter(tags=["usage"])
Filter = Annotated[str | None, Query(max_length=80, pattern=r"^[!-~]+$")]
COUNTED = ("requests", "answered", "units", "cost_nano", "compute_us")

ADVICE: dict[Rule, str] = {
    "numbers": "records were lost or doubled outside of modeltap: compare with a backup of the home, and report it",
    "segments": "a usage file or the database was changed by something else: keep both, compare with a backup, and report it",
    "open": "start the server again; it closes what a dead process left open, and charges nothing for it",
    "rpm": "more was granted than the limit: check that the clock was not set back by hand, and report it",
    "upm": "more was granted than the limit: check that the clock was not set back by hand, and report it",
    "budget_day": "more was charged than the budget: check that the clock was not set back by hand, and report it",
    "budget_month": "more was charged than the budget: check that the clock was not set back by hand, and report it",
}
"""What to do about a finding of each rule."""


def chosen_records(
    request: Request, key: Filter = None, deployment: Filter = None, since: Filter = None, until: Filter = None
) -> Chosen:
    """The records that the request asks for: of its tenant alone, or of all where the admin key names none."""
    principal = caller(request)
    sees_all = principal.is_root and "modeltap-tenant" not in request.headers
    since_s = None if since is None else parse_moment(since, "since")
    until_s = None if until is None else parse_moment(until, "until")
    if since_s is not None and until_s is not None and since_s >= until_s:
        raise InvalidInput(
            f"since is '{since}' and until is '{until}'; until must be later, for it is the first moment that is left out",
            fields=[("until", "not after since")],
        )
    return Chosen(
        tenant=None if sees_all else principal.tenant, key=key, deployment=deployment, since_s=since_s, until_s=until_s
    )


Choice = Annotated[Chosen, Depends(chosen_records)]


@router.get("/usage")
def sum_usage(services: Use, chosen: Choice, by: Annotated[tuple[str, ...], Query()] = ()) -> dict[str, Any]:
    """Requests, units and cost, grouped by any of tenant, key, deployment, model and day (UTC), each with its own `by=`.

    Units of different kinds are never added up."""
    sums = services.usage.sums(by, chosen)
    return {
        "currency": services.currency,
        "tenant": chosen.tenant,
        "by": parse_dimensions(by),
        "sums": [_sum_facts(one) for one in sums],
        "totals": [_sum_facts(one) for one in total_sums(sums)],
    }


@router.get("/usage.csv", response_class=StreamingResponse)
def export_usage(services: Use, chosen: Choice) -> StreamingResponse:
    """Every record, one a row, in the order in which the requests were accepted."""
    pieces = services.usage.csv(chosen)
    first = next(pieces)  # what can be refused is, before the answer begins
    headers = {"content-disposition": 'attachment; filename="usage.csv"', "cache-control": "no-store"}
    return StreamingResponse(_encoded(chain([first], pieces)), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/audit")
def audit_usage(services: Use) -> dict[str, Any]:
    """Checks every record there is: none is missing or doubled, and no limit was ever passed."""
    facts: dict[str, Any] = msgspec.to_builtins(services.audit())
    for finding in facts["findings"]:
        finding["advice"] = ADVICE[finding["rule"]]
    return facts


def total_sums(sums: Iterable[UsageSum]) -> list[UsageSum]:
    """All of them together, one sum for each unit."""
    totals: dict[str, UsageSum] = {}
    for one in sums:
        before = totals.get(one.unit)
        totals[one.unit] = UsageSum(
            unit=one.unit,
            **{name: getattr(one, name) + (0 if before is None else getattr(before, name)) for name in COUNTED},
        )
    return [totals[unit] for unit in sorted(totals)]


def _sum_facts(one: UsageSum) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(one)
    if one.day is not None:
        facts["day"] = day_text(one.day)
    facts["cost"] = show_budget(facts.pop("cost_nano"))
    return facts


def _encoded(pieces: Iterable[str]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece.encode()

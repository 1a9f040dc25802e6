"""What the headers of an answer tell of its call: the request, the version, the cost, and what is left of the key's rates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


class Allowance(NamedTuple):
    """One rate of the key or its tenant, the tighter one. `reset_s`: until all of it may be used again."""

    limit: int
    remaining: int
    reset_s: float


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """None is what the answer does not tell: rates without a limit, the cost of an answer that was charged before."""

    request_id: str | None = None
    model: str | None = None
    cost: Decimal | None = None
    """In the server's currency, exact."""
    requests: Allowance | None = None
    units: Allowance | None = None
    is_replayed: bool = False
    """Whether it is the stored answer of an earlier try, which was charged then."""


def read_receipt(headers: Mapping[str, str]) -> Receipt:
    """From headers whose names are found in any case; what cannot be read counts as not told."""
    return Receipt(
        request_id=headers.get("x-request-id"),
        model=headers.get("modeltap-model"),
        cost=_cost(headers.get("modeltap-cost")),
        requests=_allowance(headers, "requests"),
        units=_allowance(headers, "tokens"),  # what OpenAI's clients read; here it counts whatever the deployment bills
        is_replayed=headers.get("idempotent-replayed") == "true",
    )


def parse_span(text: str) -> float | None:
    """Seconds of 12ms, 1s or 6m0s; None for anything else."""
    if not _SPAN.fullmatch(text):
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in _PART.findall(text))


def _allowance(headers: Mapping[str, str], what: str) -> Allowance | None:
    limit, remaining = headers.get(f"x-ratelimit-limit-{what}", ""), headers.get(f"x-ratelimit-remaining-{what}", "")
    reset_s = parse_span(headers.get(f"x-ratelimit-reset-{what}", ""))
    if not limit.isdecimal() or not remaining.isdecimal() or reset_s is None:
        return None
    return Allowance(int(limit), int(remaining), reset_s)


def _cost(text: str | None) -> Decimal | None:
    try:
        cost = Decimal(text or "")
    except InvalidOperation:
        return None
    return cost if cost.is_finite() else None

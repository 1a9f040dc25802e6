"""Limits as they are given to a call: rpm, upm, concurrency as numbers, budget_day and budget_month as amounts."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Limits = Mapping[str, int | str | Decimal | None]
"""Name → limit; an amount is a text or a Decimal ("12.50"), None takes a limit away, and what is not named stays."""


def limits_body(limits: Limits | None) -> dict[str, Any]:
    """The limits as a request has them; the server says what is wrong with them."""
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in (limits or {}).items()}

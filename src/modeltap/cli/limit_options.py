"""The limits that keys, tenants and public deployments are given: their options, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from modeltap.cli.output import Output

NONE = "none"

Rpm = Annotated[str | None, typer.Option(metavar="N", help="Requests in any 60 seconds; none for no limit.")]
Upm = Annotated[str | None, typer.Option(metavar="N", help="Units (rows, tokens, …) in any 60 seconds; none for no limit.")]
Concurrency = Annotated[str | None, typer.Option(metavar="N", help="Requests at a time; none for no limit.")]
BudgetDay = Annotated[str | None, typer.Option(metavar="AMOUNT", help="Cost in a day, UTC, such as 12.50; none for no limit.")]
BudgetMonth = Annotated[str | None, typer.Option(metavar="AMOUNT", help="Cost in a calendar month, UTC; none for no limit.")]


def read_limits(*, prefix: str = "", **given: str | None) -> dict[str, Any]:
    """What was given, as a request has it: {"rpm": 60, "budget_day": "12.50", "upm": None}; the server checks amounts.

    `prefix` stands before the names of the options.
    """
    limits: dict[str, Any] = {}
    for name, text in given.items():
        if text is None:
            continue
        if text.casefold() == NONE:
            limits[name] = None
        elif name.startswith("budget_"):
            limits[name] = text
        elif text.isascii() and text.isdigit() and int(text) > 0:
            limits[name] = int(text)
        else:
            hint = f"--{prefix}{name.replace('_', '-')}"
            raise typer.BadParameter(f"'{text}' is neither a whole number above 0 nor '{NONE}'", param_hint=hint)
    return limits


def need_limits(limits: dict[str, Any]) -> dict[str, Any]:
    """The limits, if there are any to change."""
    if not limits:
        raise typer.BadParameter(
            "name a limit to change", param_hint="--rpm, --upm, --concurrency, --budget-day, --budget-month"
        )
    return limits


def limits_line(limits: Mapping[str, Any]) -> str:
    """`60 requests/min, 12.50 a day`; `no limits`."""
    words = {
        "rpm": "requests/min",
        "upm": "units/min",
        "concurrency": "at a time",
        "budget_day": "a day",
        "budget_month": "a month",
    }
    told = [f"{_amount(limits[name])} {word}" for name, word in words.items() if limits.get(name) is not None]
    return ", ".join(told) or "no limits"


def show_new_text(out: Output, key: str) -> None:
    """Says a key's text, and that it is said once."""
    out.say(key, style="bold green")
    out.note("this is the only time it is shown: keep it where it is safe")


def _amount(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)

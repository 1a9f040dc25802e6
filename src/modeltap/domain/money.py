"""Amounts of the one currency, written as decimals ("12.50") and counted exactly as whole parts of it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from modeltap.errors import InvalidInput

NANO_DIGITS = 9
"""Of a budget: it is counted in billionths."""
PRICE_DIGITS = 6
"""Of the price of 1,000 units: it is counted in millionths."""
MAX_BUDGET = 1_000_000_000
MAX_PRICE = 1_000_000
"""In the currency. Sums of what they bound fit into 64 bits."""
MAX_TEXT_CHARS = 40


def parse_budget(given: str | int, field: str) -> int:
    """Billionths of the currency. Raises InvalidInput naming the field."""
    return _parse(given, field, digits=NANO_DIGITS, most=MAX_BUDGET)


def parse_price(given: str | int, field: str) -> int:
    """Millionths of the currency for 1,000 units. Raises InvalidInput naming the field."""
    return _parse(given, field, digits=PRICE_DIGITS, most=MAX_PRICE)


def show_budget(nano: int) -> str:
    """The decimal amount without a tail of zeros: 12.5."""
    return _show(nano, NANO_DIGITS)


def show_price(millionths: int) -> str:
    return _show(millionths, PRICE_DIGITS)


def _parse(given: str | int, field: str, *, digits: int, most: int) -> int:
    text = str(given).strip()
    try:
        amount = Decimal(text) if len(text) <= MAX_TEXT_CHARS else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= most:
        raise InvalidInput(
            f"{field} is '{text[:MAX_TEXT_CHARS]}'; give an amount of the currency from 0 to {most:,}, such as 12.50",
            fields=[(field, "not an amount")],
        )
    parts = amount.scaleb(digits)
    if parts != parts.to_integral_value():
        raise InvalidInput(
            f"{field} is '{text}'; at most {digits} digits after the point are counted", fields=[(field, "too many digits")]
        )
    return int(parts)


def _show(parts: int, digits: int) -> str:
    whole, rest = divmod(parts, 10**digits)
    tail = f"{rest:0{digits}d}".rstrip("0")
    return f"{whole}.{tail}" if tail else str(whole)

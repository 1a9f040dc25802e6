"""How notices count things."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 row`, `2,399 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

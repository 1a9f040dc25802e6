"""Times as people read them: 2 minutes ago, or the day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

DAY_S = 24 * 3600


def when(moment: datetime | str | None) -> str | None:
    """`just now`, `5 min ago`, `3 h ago`, else the local date and time; None stays None."""
    if moment is None:
        return None
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    ago_s = (datetime.now(UTC) - at).total_seconds()
    if 0 <= ago_s < 60:
        return "just now"
    if 0 <= ago_s < 3600:
        return f"{int(ago_s // 60)} min ago"
    if 0 <= ago_s < DAY_S:
        return f"{int(ago_s // 3600)} h ago"
    return at.astimezone().strftime("%Y-%m-%d %H:%M")


def elapsed(start: datetime | None, end: datetime | None) -> timedelta | None:
    """How long it took; until now where it has not ended, None where it has not begun."""
    if start is None:
        return None
    return (end or datetime.now(UTC)) - start

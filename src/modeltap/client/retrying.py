"""Whether a request is sent again, and when: what the server asks for, else a pause that doubles.

Pure: the number of tries, an answer's status and headers, the time and a random number in; seconds to wait out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_WAIT_S = 120.0
"""A server that asks for more has to be asked again by whoever can wait that long."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0

TIMEOUT, CONFLICT, TOO_MANY, NOT_NOW = 408, 409, 429, 503


def plan_retry(
    num_tries: int, *, status: int, headers: Mapping[str, str], repeatable: bool, now_s: float, chance: float
) -> float | None:
    """Seconds until the refused request is sent again; None where it is not.

    num_tries: how often it was sent, from 1 on. repeatable: whether the server does the same thing once, however often it is
    asked. now_s: UTC seconds since 1970. chance: random, from 0 to 1.
    """
    word = headers.get("x-should-retry", "").strip().lower()
    if word != "true" and (word == "false" or not is_passing(status, repeatable=repeatable)):
        return None
    wait_s = wait_asked_s(headers, now_s=now_s)
    if wait_s is None:
        return pause_s(num_tries, chance=chance)
    return wait_s if wait_s <= MAX_WAIT_S else None


def is_passing(status: int, *, repeatable: bool) -> bool:
    """Whether the same request may succeed later, and cannot be done twice by it.

    After 408, 429 and 503 nothing was done. After other failures of a server that is not known.
    """
    return status in (TIMEOUT, TOO_MANY, NOT_NOW) or (repeatable and (status == CONFLICT or status >= 500))


def wait_asked_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Seconds to wait by `retry-after-ms`, else by `retry-after`, in seconds or as a date; None where neither says a time."""
    asked_ms = _positive(headers.get("retry-after-ms", ""))
    if asked_ms is not None:
        return asked_ms / 1000
    after = headers.get("retry-after", "")
    asked_s = _positive(after)
    if asked_s is not None:
        return asked_s
    try:
        moment = parsedate_to_datetime(after)
    except ValueError:
        return None
    wait_s = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - datetime.fromtimestamp(now_s, UTC)
    return wait_s.total_seconds() if wait_s.total_seconds() > 0 else None


def pause_s(num_tries: int, *, chance: float) -> float:
    """A quarter of a second, then twice as long each time up to 8 s, and of that between a half and all."""
    doublings = min(num_tries - 1, 10)  # far beyond the longest pause, and no float overflows
    return min(FIRST_PAUSE_S * (1 << doublings), LONGEST_PAUSE_S) * (0.5 + 0.5 * chance)


def _positive(text: str) -> float | None:
    """The number, where it is one above zero; infinity is."""
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) or number <= 0 else number

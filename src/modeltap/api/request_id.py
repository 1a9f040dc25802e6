"""The id that every answer carries, and its place in a trace."""

from __future__ import annotations

import itertools
import re
import secrets

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACE = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
_NO_TRACE = "0" * 32
_numbers = itertools.count(1)
_process = secrets.token_hex(8)
_ID = f"req-{_process}"
_NEW_TRACE = f"00-{_process}"


def request_id_of(given: str | None) -> str:
    """The client's own id, if it is a sane one; else a new one, unique to this process and request."""
    return given if given and _SANE.fullmatch(given) else f"{_ID}{next(_numbers):08x}"


def traceparent_of(given: str | None) -> str:
    """The W3C trace context of the answer: of the client's trace if it sent one, else of a new one that is not sampled."""
    number = next(_numbers)
    found = _TRACE.fullmatch(given) if given else None
    if found is None or found[1] == _NO_TRACE:
        span = f"{number:016x}"
        return f"{_NEW_TRACE}{span}-{span}-00"
    return f"00-{found[1]}-{number:016x}-{found[2]}"

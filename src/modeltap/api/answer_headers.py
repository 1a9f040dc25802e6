"""The headers that every answer of the data plane has: id, time, limits, version, cost, trace."""

from __future__ import annotations

from modeltap.api.asgi import Header
from modeltap.domain.money import show_budget
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane

_LIMITS = tuple(
    tuple(b"x-ratelimit-%b-%b" % (part, what) for part in (b"limit", b"remaining", b"reset"))
    for what in (b"requests", b"tokens")
)
"""Of requests, and of units, which OpenAI's clients know as tokens."""


def call_headers(plane: Plane, call: Call | None, request_id: str, traceparent: str, took_s: float) -> list[Header]:
    """In the order of the protocols' page; limits only where the caller has some."""
    headers: list[Header] = [
        (b"x-request-id", request_id.encode()),
        (b"openai-processing-ms", b"%d" % round(took_s * 1000)),
        (b"traceparent", traceparent.encode()),
    ]
    if call is None:
        return headers
    for (limit, remaining, reset), standing in zip(_LIMITS, plane.standing(call), strict=True):
        if standing is not None:
            headers += (
                (limit, b"%d" % standing.limit),
                (remaining, b"%d" % standing.remaining),
                (reset, span(standing.reset_s).encode()),
            )
    if call.ticket is not None and call.version is not None:
        headers.append((b"modeltap-model", call.version.model_id.encode()))
        headers.append((b"modeltap-cost", show_cost(call.cost_nano).encode()))
    return headers


def span(seconds: float) -> str:
    """A time as OpenAI writes it: 12ms, 1s, 6m0s."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    whole = round(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60}s"


def show_cost(nano: int) -> str:
    """The exact amount of the currency: 0.00012."""
    return show_budget(nano) if nano else "0"

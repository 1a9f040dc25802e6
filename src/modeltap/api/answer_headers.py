"""The headers that every answer of the data plane has: id, time, limits, version, cost, trace."""

from __future__ import annotations

from modeltap.api.asgi import Header
from modeltap.domain.money import show_budget
from modeltap.domain.quota_counters import Standing
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane


def call_headers(plane: Plane, call: Call | None, request_id: str, traceparent: str, took_s: float) -> list[Header]:
    """In the order of the protocols' page; limits only where the caller has some."""
    lines = call_lines(plane, call, request_id, traceparent, took_s)
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.split(b"\r\n")[:-1])]


def call_lines(plane: Plane, call: Call | None, request_id: str, traceparent: str, took_s: float) -> bytes:
    """The same as they are sent, each with its end. Units are what OpenAI's clients know as tokens."""
    text = f"x-request-id: {request_id}\r\nopenai-processing-ms: {int(took_s * 1000 + 0.5)}\r\ntraceparent: {traceparent}\r\n"
    if call is None:
        return text.encode()
    by_requests, by_units = plane.standing(call)
    if by_requests is not None:
        text += _standing_lines("requests", by_requests)
    if by_units is not None:
        text += _standing_lines("tokens", by_units)
    if call.ticket is not None and call.version is not None:
        text += f"modeltap-model: {call.version.model_id}\r\n"
        if call.ticket.state != "reserved":  # as that of a stream, whose cost is known at its end
            text += f"modeltap-cost: {show_cost(call.cost_nano)}\r\n"
    return text.encode()


def _standing_lines(what: str, standing: Standing) -> str:
    limit, remaining, reset_s = standing
    return (
        f"x-ratelimit-limit-{what}: {limit}\r\nx-ratelimit-remaining-{what}: {remaining}\r\n"
        f"x-ratelimit-reset-{what}: {span(reset_s)}\r\n"
    )


def span(seconds: float) -> str:
    """A time as OpenAI writes it: 12ms, 1s, 6m0s."""
    if seconds < 1:
        return f"{max(0, int(seconds * 1000 + 0.5))}ms"
    whole = int(seconds + 0.5)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60}s"


def show_cost(nano: int) -> str:
    """The exact amount of the currency: 0.00012."""
    return show_budget(nano) if nano else "0"

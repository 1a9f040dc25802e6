"""Until when a text must be whole, whether it can be, and what it ends in where it is not."""

from __future__ import annotations

from modeltap.errors import DeadlinePassed, Overloaded
from modeltap.serving.call import Call


def deadline_of(call: Call) -> float | None:
    """Monotonic; None where a text takes as long as it is."""
    if call.deadline_s is not None:
        return call.deadline_s
    assert call.deployment is not None, "find comes before"
    within_ms = call.deployment.terms.deadline_ms
    return None if within_ms is None else call.started_s + within_ms / 1000


def check_time(deadline_s: float, now_s: float, wait_s: float) -> None:
    """Raises Overloaded where not even the first token could be there in time."""
    if now_s + wait_s >= deadline_s:
        raise Overloaded(
            f"the text would wait up to {wait_s:.3g} s for its turn and is wanted within {max(deadline_s - now_s, 0):.3g} s;"
            " send the request again later, or give the deployment a longer deadline",
            retry_after_s=max(now_s + wait_s - deadline_s, 0.001),
        )


def late(call: Call, deadline_s: float) -> DeadlinePassed:
    """What a text ends in that is not whole in time."""
    return DeadlinePassed(
        f"the text was not whole after {deadline_s - call.started_s:.3g} s, the deadline of its deployment; what was handed on"
        " until then is charged: ask for fewer tokens, or give the deployment a longer deadline"
    )

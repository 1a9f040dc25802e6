"""The life of one replica, and how long to wait before a dead one is started again."""

from __future__ import annotations

from typing import Literal

import msgspec

from modeltap.errors import Conflict

ReplicaState = Literal["starting", "warming", "ready", "draining", "stopped", "failed"]
"""starting: its graph is being loaded. warming: it replays its golden rows. ready: it takes batches. draining: it takes no
more, and answers the one it has. stopped: ended in order. failed: died, or was ended because it did not answer."""

ReplicaEvent = Literal["load", "warm", "drain", "stop", "fail"]

TRANSITIONS: dict[tuple[ReplicaState, ReplicaEvent], ReplicaState] = {
    ("starting", "load"): "warming",
    ("starting", "drain"): "draining",
    ("starting", "fail"): "failed",
    ("warming", "warm"): "ready",
    ("warming", "drain"): "draining",
    ("warming", "fail"): "failed",
    ("ready", "drain"): "draining",
    ("ready", "fail"): "failed",
    ("draining", "stop"): "stopped",
    ("draining", "fail"): "failed",
}

ENDED: frozenset[ReplicaState] = frozenset({"stopped", "failed"})
"""Another replica takes its place; it never comes back itself."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
SETTLED_S = 60.0
"""A replica that lived so long had a good start: the next pause is the shortest again."""


class Restart(msgspec.Struct, frozen=True):
    """How many in a row died young, and the pause before the next one is started."""

    deaths: int = 0
    pause_s: float = 0.0


def next_state(state: ReplicaState, event: ReplicaEvent) -> ReplicaState:
    """The state after `event`. Raises Conflict, naming what is possible, if the event does not fit."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        possible = ", ".join(sorted(e for s, e in TRANSITIONS if s == state)) or "nothing"
        raise Conflict(f"a replica that is {state} cannot {event}; possible: {possible}") from None


def plan_restart(last: Restart, lived_s: float) -> Restart:
    """The restart after a replica that lived so long (0 if it did not even start): each pause is twice the one before."""
    deaths = 1 if lived_s >= SETTLED_S else last.deaths + 1
    return Restart(deaths, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(deaths - 1, 16)))

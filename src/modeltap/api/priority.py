"""`modeltap-priority: bulk`: a request that lets those go first for whose answers somebody waits."""

from __future__ import annotations

from modeltap.batching.entry import BULK, INTERACTIVE, Priority
from modeltap.errors import InvalidInput

PRIORITY_HEADER = b"modeltap-priority"
PRIORITIES: dict[str, Priority] = {"interactive": INTERACTIVE, "bulk": BULK}


def priority_of(given: str | None) -> Priority:
    """By the header's value; without one it is interactive. Raises InvalidInput for another word."""
    if given is None:
        return INTERACTIVE
    found = PRIORITIES.get(given.casefold())
    if found is None:
        raise InvalidInput(f"modeltap-priority is '{given[:40]}'; allowed: {', '.join(PRIORITIES)}")
    return found

"""Which loaded versions stay in memory: decided from what each holds, when it was last called, and whether it may go at all."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple, TypeVar

FRESH_S = 5.0
"""A version that was loaded for a caller who was told to come back stays at least so long, if nobody calls it."""

K = TypeVar("K", bound=Hashable)


class Resident(NamedTuple):
    """One loaded version. Moments are monotonic seconds."""

    memory_bytes: int
    loaded_s: float
    last_used_s: float
    is_busy: bool
    """A request holds it, or a name leads to it until another version is loaded."""

    def may_go(self, now_s: float) -> bool:
        was_called = self.last_used_s > self.loaded_s
        return not self.is_busy and (was_called or now_s - self.loaded_s >= FRESH_S)


def plan_unloading(
    residents: Iterable[tuple[K, Resident]],
    *,
    now_s: float,
    limit_bytes: int,
    need_bytes: int = 0,
    unload_after_s: float | None = None,
) -> list[K]:
    """What to unload: all that nobody called for `unload_after_s`, then, until `need_bytes` more fit under the limit, the one
    that was not called for longest. It may not be enough: what is in use stays."""
    by_use = sorted(residents, key=lambda one: one[1].last_used_s)
    total_bytes = need_bytes + sum(resident.memory_bytes for _, resident in by_use)
    going: list[K] = []
    for key, resident in by_use:
        is_idle = unload_after_s is not None and now_s - resident.last_used_s >= unload_after_s
        if resident.may_go(now_s) and (is_idle or total_bytes > limit_bytes):
            going.append(key)
            total_bytes -= resident.memory_bytes
    return going

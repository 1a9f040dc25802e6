"""How fast the places of a language model become free."""

from __future__ import annotations

NEWEST = 0.2
"""Weight of the text that ended last."""


class Pace:
    """How long texts have held their places of late."""

    def __init__(self) -> None:
        self._held_s: float | None = None

    def count(self, held_s: float) -> None:
        """A text has ended that had a place so long."""
        self._held_s = held_s if self._held_s is None else self._held_s + NEWEST * (held_s - self._held_s)

    def wait_s(self, num_ahead: int, num_places: int) -> float:
        """Until so many texts have ended of those that hold all the places; 0 where nothing is known."""
        return 0.0 if num_ahead <= 0 or self._held_s is None else num_ahead * self._held_s / max(1, num_places)

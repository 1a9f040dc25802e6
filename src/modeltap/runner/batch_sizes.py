"""How many rows of a batch are sent together: few at first, then as many as make a short, small request. Pure."""

from __future__ import annotations

FIRST_ROWS = 1
"""Nothing is known yet of how long an answer is; the longest that is kept for a retry must not be passed."""
GROWTH = 4
BODY_BYTES = 4 << 20
ANSWER_BYTES = 512 << 10
"""Half of what is kept for a retry: an answer may be twice as long as the longest row so far says."""
REQUEST_S = 0.1
"""A request that others may have to wait for should not take longer."""


class Sizes:
    """Told of every request, it says how large the next one may be."""

    def __init__(self, most_rows: int, *, row_bytes: float = 0.0) -> None:
        """row_bytes: of the longest answer so far, for each of its rows."""
        self.body_bytes = BODY_BYTES
        self._most_rows = most_rows
        self._rows = FIRST_ROWS
        self._row_bytes = row_bytes
        self._row_s = 0.0

    @property
    def rows(self) -> int:
        """At the most, in the next request."""
        rows = min(self._rows, self._most_rows)
        if self._row_bytes:
            rows = min(rows, int(ANSWER_BYTES / self._row_bytes))
        if self._row_s:
            rows = min(rows, int(REQUEST_S / self._row_s))
        return max(1, rows)

    def answered(self, rows: int, *, answer_bytes: int, took_s: float) -> None:
        """A request of so many rows was answered; took_s is 0 where that says nothing of the next one."""
        self._row_bytes = max(self._row_bytes, answer_bytes / rows)
        if took_s:
            row_s = took_s / rows
            self._row_s = min(self._row_s, row_s) if self._row_s else row_s
        self._rows = min(self._most_rows, max(self._rows, rows * GROWTH))

    def too_many(self, rows: int, *, ever: bool = False) -> None:
        """Fewer rows than these fit now; with `ever`, so many never will."""
        self._rows = max(1, rows // 2)
        if ever:
            self._most_rows = self._rows

    def too_long(self, body_bytes: int) -> None:
        """The server takes no body as long as this."""
        self.body_bytes = max(1, min(self.body_bytes, body_bytes) // 2)

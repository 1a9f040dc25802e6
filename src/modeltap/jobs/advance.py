"""Whether a checkpoint is further than any that was saved before, so that a job which always begins anew comes to an end.

A runner that saves a checkpoint has not run for nothing, and its job gets all its attempts back. But where the checkpoint can
never be read, every runner begins at nothing, saves the same one and dies. Such a runner is known by where its training begins.
"""

from __future__ import annotations

from modeltap.domain.progress import Progress


class Advance:
    """Of one runner; `reached` is how far any before it had saved, 0 to 1, None if none had."""

    def __init__(self, reached: float | None) -> None:
        self.reached = reached
        self._before = reached
        self._first: float | None = None
        self._last: float | None = None

    def see(self, progress: Progress) -> None:
        """The runner told this."""
        if progress.phase == "train":
            self._last = progress.fraction
            if self._first is None:
                self._first = progress.fraction

    def is_further(self) -> bool:
        """Whether a checkpoint that is saved now is worth anything: the runner went on from the last one, or is beyond it."""
        if self._last is None or self._first is None:
            return True
        went_on = self._before is None or self._first >= self._before
        if went_on or self._last > (self._before or 0.0):
            self.reached = max(self.reached or 0.0, self._last)
            return True
        return False

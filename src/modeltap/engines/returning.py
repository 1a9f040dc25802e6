"""How long the next step waits for callers whose texts have just ended, and who are likely to ask again at once.

A prompt that comes while a step is made waits for all of it, and is read in the next one with fewer others: a few milliseconds
of patience spare it that. They are taken from those whose texts go on, so they are bounded: SHARE of the time that the steps
take may be waited, and a wait that brought nobody is paid dearly, so that callers who do not come back are soon not waited for.
"""

from __future__ import annotations

SHARE = 0.06
"""Of the time of the steps."""
MOST_S = 0.03
"""That may be saved up."""
FIRST_S = 0.012
"""Until the first caller is back."""
NEXT_S = 0.004
"""From one caller to the next."""
LEAST_S = 0.003
"""In less nobody comes back."""
VAIN = 8.0
"""So many times its length a wait costs that brought nobody."""


class Patience:
    """Moments are monotonic seconds. `stepped` after every step, `returned` for callers that begin, `waited` for each wait."""

    def __init__(self) -> None:
        self._saved_s = MOST_S
        self._num_expected = 0
        self._has_returned = False
        self._until_s = 0.0

    def stepped(self, now_s: float, *, took_s: float, num_ended: int) -> None:
        """So many callers may come back now."""
        self._saved_s = min(MOST_S, self._saved_s + SHARE * took_s)
        self._num_expected = num_ended
        self._has_returned = False
        self._until_s = now_s + FIRST_S

    def returned(self, now_s: float, number: int) -> None:
        """So many have. After a longer time without anything to do they are others, whom nobody may follow."""
        if now_s > self._until_s:
            self._num_expected = 0
        elif number and self._num_expected:
            self._num_expected = max(0, self._num_expected - number)
            self._has_returned = True
            self._until_s = now_s + NEXT_S

    def left_s(self, now_s: float) -> float:
        """How long to wait from now on; 0 where nobody is expected."""
        if not self._num_expected or self._saved_s < LEAST_S:
            return 0.0
        return max(0.0, min(self._until_s - now_s, self._saved_s))

    def waited(self, seconds: float, *, in_vain: bool) -> None:
        """So long a step was put off; in vain if nobody came at all."""
        self._saved_s -= seconds * (VAIN if in_vain and not self._has_returned else 1.0)

"""When the server was last used: what a server started in the background ends by."""

from __future__ import annotations

import time


class Activity:
    def __init__(self) -> None:
        self.in_flight = 0
        self.last_used_s = time.monotonic()

    def begin(self) -> None:
        self.in_flight += 1  # while it is not 0, nobody asks when the last one was

    def end(self) -> None:
        self.in_flight -= 1
        self.last_used_s = time.monotonic()

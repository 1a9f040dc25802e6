"""What a lane hands its batches to: one running engine, in this process or in one of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from modeltap.domain.replica import ReplicaState
from modeltap.domain.signature import Batch

Done = Callable[["Batch | BaseException", float], None]
"""Called once for each run, on the event loop: the outputs or the failure, and the seconds that the engine itself worked.
ReplicaLost is the failure of a run whose engine died under it."""


class ReplicaBackend(Protocol):
    """One warm engine. Everything is called on the event loop; one run at a time."""

    name: str
    """For logs and metrics: `digits@3#1`."""

    @property
    def state(self) -> ReplicaState: ...

    def run(self, inputs: Batch, done: Done, *, expected_s: float) -> None:
        """Starts the run. `done` may be called before this returns. `expected_s` is what the cost line says it will take."""

    async def close(self) -> None:
        """Waits for what runs, then lets the engine go."""

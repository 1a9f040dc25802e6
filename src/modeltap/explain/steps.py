"""How an explanation asks a model without knowing it: a generator that yields rows, and what their outputs are handed to.

    explanation = drive(steps, engine.run)         in a job, or a test
    serving sends the same rows through a version's lane, slice by slice, and makes the next rows while these run

Between two `None` nothing that is yielded depends on an output; at a `None` all outputs until then must have been handed over.
Letters: K rows that are asked, M players.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.signature import Batch

T = TypeVar("T")


class Asked(NamedTuple):
    """`rows` are to be run; `take` is called once with their outputs, in the order in which they were asked."""

    rows: Batch
    take: Callable[[Batch], None]


Steps = Generator[Asked | None, None, T]
Floats = NDArray[np.float64]
Masks = NDArray[Any]
"""(K, M): 1 or True where a player is there, 0 where the background stands in its place; of pixels also what is between."""
Ints = NDArray[np.int64]

VALUES_AT_ONCE = 400_000
"""Numbers that are asked at a time: few enough that making them delays nobody for long, and many enough for an engine."""
ROWS_AT_ONCE = 1_024


class Players(Protocol):
    """The parts of one row that can be taken away: columns, words, pixels."""

    @property
    def count(self) -> int:
        """M."""

    @property
    def num_backgrounds(self) -> int:
        """Rows that can stand in for what is taken away."""

    @property
    def row_values(self) -> int:
        """Numbers or texts that one row holds."""

    def rows(self, present_KM: Masks, background_K: Ints) -> Batch:
        """The row K times, with what is not present taken from the background of that number."""


class Target:
    """Which number of the answer is explained: the probability of a class, or the predicted value."""

    def __init__(self, output: str, index: int | None = None) -> None:
        self.output = output
        self.index = index

    def values(self, outputs: Batch) -> Floats:
        """(K,)."""
        given: Any = outputs[self.output]
        column = given if self.index is None else given[:, self.index]
        return np.asarray(column, dtype=np.float64)


def drive(steps: Steps[T], run: Callable[[Batch], Batch]) -> T:
    """What the steps come to, with `run` giving the outputs of what they ask."""
    try:
        while True:
            asked = next(steps)
            if asked is not None:
                asked.take(run(asked.rows))
    except StopIteration as ended:
        result: T = ended.value
        return result


def at_once(players: Players) -> int:
    """Rows that are asked at a time."""
    return max(1, min(ROWS_AT_ONCE, VALUES_AT_ONCE // max(1, players.row_values)))


def ask(players: Players, target: Target, present_KM: Masks, background_K: Ints) -> Steps[Floats]:
    """(K,): the model's answers where only these players are present."""
    values_K = np.empty(len(present_KM), dtype=np.float64)
    yield from ask_into(values_K, players, target, present_KM, background_K)
    yield None
    return values_K


def ask_into(values_K: Floats, players: Players, target: Target, present_KM: Masks, background_K: Ints) -> Steps[None]:
    """As `ask`; the answers are in `values_K` after the next `None`."""
    step = at_once(players)
    for start in range(0, len(values_K), step):
        chosen = slice(start, start + step)
        take = partial(_put, values_K[chosen], target)
        yield Asked(players.rows(present_KM[chosen], background_K[chosen]), take)


def ask_once(rows: Batch) -> Steps[Batch]:
    """The outputs of rows as they are."""
    held: list[Batch] = []
    yield Asked(rows, held.append)
    yield None
    return held[0]


def _put(values_K: Floats, target: Target, outputs: Batch) -> None:
    values_K[:] = target.values(outputs)

"""Ids → the batches of a round: blocks of a stream, or texts of like length, filled up at their ends.

Letters: N rows to learn, B of a batch, T tokens, S tokens of a stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modeltap.training.batches import order_of
from modeltap.training.language.reading import Answered, Ids

UNLEARNED = -100
"""The target where nothing is learned; torch's own default."""
MAX_ROUNDS = 10
ALIKE = 16
"""Batches whose texts are put together by their lengths."""
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Rounds:
    """Training goes in rounds, each followed by a validation: epochs, or equal pieces of a number of steps."""

    num_rounds: int
    num_steps: int
    """Of a round."""
    by_epochs: bool


def plan_rounds(num_rows: int, *, batch_size: int, epochs: int, steps: int | None) -> Rounds:
    """Epochs as rounds; of `steps`, the most pieces up to 10 that are equally long."""
    if steps is None:
        return Rounds(epochs, -(-num_rows // batch_size), by_epochs=True)
    pieces = next(count for count in range(min(MAX_ROUNDS, steps), 0, -1) if steps % count == 0)
    return Rounds(pieces, steps // pieces, by_epochs=False)


class Learned(Protocol):
    """What is learned from, as rows."""

    @property
    def num_rows(self) -> int: ...

    def cut(self, rows: Rows, *, pass_: int) -> tuple[Tensor, Tensor]:
        """Ids and targets (B, T), int64."""

    def lengths(self, rows: Rows) -> Rows | None:
        """By which rows are put together; None where all are alike."""


class Stream:
    """Documents one after the other, cut into blocks of T; each pass over them cuts elsewhere."""

    def __init__(self, stream_S: Ids, *, context: int, seed: int | None) -> None:
        """`seed` None: every pass cuts at the same places."""
        self._context, self._seed = min(context, len(stream_S) - 1), seed
        self._stream = torch.from_numpy(stream_S.astype(np.int64))
        self._spare = 1 if seed is None else min(self._context, len(stream_S) - self._context)
        """So many tokens of the beginning may be left out of a pass."""
        self.num_rows = max(1, (len(stream_S) - self._spare) // self._context)

    def cut(self, rows: Rows, *, pass_: int) -> tuple[Tensor, Tensor]:
        mixed = hashlib.sha256(f"{self._seed}/{pass_}/offset".encode()).digest()[:8]
        offset = int.from_bytes(mixed, "little") % self._spare
        starts = torch.from_numpy(rows) * self._context + offset
        window = self._stream[starts[:, None] + torch.arange(self._context + 1)]
        return window[:, :-1], window[:, 1:]

    def lengths(self, rows: Rows) -> Rows | None:
        return None


class Texts:
    """Texts of which a part is learned."""

    def __init__(self, texts: Sequence[Answered]) -> None:
        self._texts = texts
        self._lengths = np.array([len(one.ids) for one in texts], dtype=np.int64)
        self.num_rows = len(texts)

    def cut(self, rows: Rows, *, pass_: int) -> tuple[Tensor, Tensor]:
        longest = int(self._lengths[rows].max()) - 1
        ids = torch.zeros((len(rows), longest), dtype=torch.int64)
        targets = torch.full((len(rows), longest), UNLEARNED, dtype=torch.int64)
        for place, row in enumerate(rows.tolist()):
            one = self._texts[row]
            taken = torch.from_numpy(one.ids.astype(np.int64))
            ids[place, : len(taken) - 1] = taken[:-1]
            learned = torch.from_numpy(one.is_learned[1:])
            targets[place, : len(taken) - 1] = torch.where(learned, taken[1:], UNLEARNED)
        return ids, targets

    def lengths(self, rows: Rows) -> Rows | None:
        return self._lengths[rows]


class RoundBatches:
    """The batches of each round, a function of seed and round alone; `order` and `sizes` are as the loop asks for them."""

    def __init__(self, learned: Learned, rounds: Rounds, *, batch_size: int, seed: int, device: torch.device) -> None:
        self.learned, self.device = learned, device
        self._rounds, self._batch_size, self._seed = rounds, batch_size, seed
        self.num_steps = rounds.num_steps
        self.size = rounds.num_steps * batch_size if not rounds.by_epochs else learned.num_rows

    def sizes(self) -> Tensor:
        """Steps count alike, whatever their texts' lengths."""
        return torch.ones(self.num_steps, dtype=torch.float64)

    def order(self, epoch: int, *, seed: int) -> list[tuple[int, Rows]]:
        """(pass, rows) of every step of a round."""
        size, rows = self._batch_size, self.learned.num_rows
        if self._rounds.by_epochs:
            return [(epoch, batch) for batch in self._alike(self._pass(epoch), epoch)]
        steps: list[tuple[int, Rows]] = []
        held: dict[int, list[Rows]] = {}
        per_pass = -(-rows // size)
        for step in range(epoch * self.num_steps, (epoch + 1) * self.num_steps):
            number, place = divmod(step, per_pass)
            if number not in held:
                held = {number: self._alike(self._pass(number), number)}
            steps.append((number, held[number][place]))
        return steps

    def gather(self, order: list[tuple[int, Rows]], step: int) -> tuple[Tensor, Tensor]:
        """Ids and targets (B, T) of a step."""
        number, rows = order[step]
        ids, targets = self.learned.cut(rows, pass_=number)
        return ids.to(self.device), targets.to(self.device)

    def _pass(self, number: int) -> Rows:
        return order_of(number, seed=self._seed, size=self.learned.num_rows).numpy()

    def _alike(self, rows: Rows, number: int) -> list[Rows]:
        """Batches; those of texts hold texts of like length, and come in an order of their own."""
        size = self._batch_size
        lengths = self.learned.lengths(rows)
        if lengths is None:
            return [rows[start : start + size] for start in range(0, len(rows), size)]
        batches = []
        for start in range(0, len(rows), size * ALIKE):
            part = slice(start, start + size * ALIKE)
            window = rows[part][np.argsort(lengths[part], kind="stable")]
            cut = [window[at : at + size] for at in range(0, len(window), size)]
            shuffled = order_of(number, seed=self._seed + start + 1, size=len(cut)).tolist()
            batches += [cut[place] for place in shuffled]
        return batches

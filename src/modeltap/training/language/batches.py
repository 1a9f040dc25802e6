"""Ids → the batches of a round: blocks of a stream, or texts of like length, filled up at their ends.

Letters: N rows to learn, B of a batch, T tokens, S tokens of a stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modeltap.domain.dataset import Part
from modeltap.training.batches import WHOLE, Share, as_tensor, order_of
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


def cut_seed(part: Part, seed: int) -> int | None:
    """Of a stream's cuts: the training part is cut elsewhere in every pass, the others are not."""
    return seed if part == "train" else None


class Learned(Protocol):
    """What is learned from, as rows."""

    @property
    def num_rows(self) -> int: ...

    def cut(self, rows: Rows, *, pass_: int) -> tuple[Tensor, Tensor]:
        """Ids and targets (B, T), int64."""

    def lengths(self, rows: Rows) -> Rows | None:
        """By which rows are put together; None where all are alike."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `learned_from` makes the same of."""


class Stream:
    """Documents one after the other, cut into blocks of T; each pass over them cuts elsewhere."""

    def __init__(self, stream_S: Ids, *, context: int, seed: int | None) -> None:
        """`seed` None: every pass cuts at the same places."""
        self._context, self._seed = min(context, len(stream_S) - 1), seed
        self._ids = stream_S
        self._stream = as_tensor(stream_S)
        self._spare = 1 if seed is None else min(self._context, len(stream_S) - self._context)
        """So many tokens of the beginning may be left out of a pass."""
        self.num_rows = max(1, (len(stream_S) - self._spare) // self._context)

    def cut(self, rows: Rows, *, pass_: int) -> tuple[Tensor, Tensor]:
        mixed = hashlib.sha256(f"{self._seed}/{pass_}/offset".encode()).digest()[:8]
        offset = int.from_bytes(mixed, "little") % self._spare
        starts = torch.from_numpy(rows) * self._context + offset
        window = self._stream[starts[:, None] + torch.arange(self._context + 1)].long()
        return window[:, :-1], window[:, 1:]

    def lengths(self, rows: Rows) -> Rows | None:
        return None

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"ids": self._ids}


class Texts:
    """Texts of which a part is learned, one after the other; text n is from `start_N1[n]` to `start_N1[n + 1]`."""

    def __init__(self, id_S: Ids, is_learned_S: NDArray[np.bool_], start_N1: Rows) -> None:
        self._ids, self._is_learned, self._starts = id_S, is_learned_S, start_N1
        self._lengths = np.diff(start_N1)
        self.num_rows = len(self._lengths)

    @classmethod
    def of(cls, texts: Sequence[Answered]) -> Self:
        starts = np.cumsum([0, *(len(one.ids) for one in texts)], dtype=np.int64)
        return cls(np.concatenate([one.ids for one in texts]), np.concatenate([one.is_learned for one in texts]), starts)

    def cut(self, rows: Rows, *, pass_: int) -> tuple[Tensor, Tensor]:
        longest = int(self._lengths[rows].max()) - 1
        ids = torch.zeros((len(rows), longest), dtype=torch.int64)
        targets = torch.full((len(rows), longest), UNLEARNED, dtype=torch.int64)
        for place, row in enumerate(rows.tolist()):
            text = slice(int(self._starts[row]), int(self._starts[row + 1]))
            taken = torch.from_numpy(self._ids[text].astype(np.int64))
            ids[place, : len(taken) - 1] = taken[:-1]
            learned = as_tensor(self._is_learned[text][1:])
            targets[place, : len(taken) - 1] = torch.where(learned, taken[1:], UNLEARNED)
        return ids, targets

    def lengths(self, rows: Rows) -> Rows | None:
        return self._lengths[rows]

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"ids": self._ids, "is_learned": self._is_learned, "starts": self._starts}


def learned_from(arrays: Mapping[str, NDArray[Any]], *, context: int, seed: int | None) -> Learned:
    """Of what `arrays` gave; context and seed are those of a stream."""
    if "starts" in arrays:
        return Texts(arrays["ids"], arrays["is_learned"], arrays["starts"])
    return Stream(arrays["ids"], context=context, seed=seed)


class RoundBatches:
    """The batches of each round, a function of seed and round alone; `order` and `sizes` are as the loop asks for them."""

    def __init__(
        self,
        learned: Learned,
        rounds: Rounds,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        pieces: int = 1,
        share: Share = WHOLE,
    ) -> None:
        self.learned, self.device, self._pieces, self._share = learned, device, pieces, share
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

    def gather(self, order: list[tuple[int, Rows]], step: int) -> tuple[list[tuple[Tensor, Tensor]], int]:
        """The share's ids and targets (B, T) in pieces, of which every share has as many, and how many tokens are learned in
        the whole step. A share without rows has one of which nothing is learned."""
        number, rows = order[step]
        ids, targets = self.learned.cut(rows, pass_=number)
        num_learned = int((targets != UNLEARNED).sum())
        start, stop = self._share.of(0, len(rows))
        if start == stop:
            ids, targets = ids[:1], torch.full_like(targets[:1], UNLEARNED)
        else:
            ids, targets = ids[start:stop], targets[start:stop]
        pieces = max(1, min(self._pieces, len(rows) // self._share.processes))
        cut = (part.to(self.device).tensor_split(pieces) for part in (ids, targets))
        return list(zip(*cut, strict=True)), num_learned

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

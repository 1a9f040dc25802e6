"""Rows in memory → the batches of an epoch, gathered into memory that is used again.

Letters: N samples, B samples of a batch.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modeltap.domain.features import FeatureBatch, FeatureSpec


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of every batch: its rows in the order that one process alone would take them."""

    rank: int = 0
    processes: int = 1

    def of(self, start: int, stop: int) -> tuple[int, int]:
        """First and last place of the share; where rows do not divide, some have one more."""
        rows = stop - start
        return start + rows * self.rank // self.processes, start + rows * (self.rank + 1) // self.processes


WHOLE = Share()


def as_tensor(array: NDArray[Any]) -> Tensor:
    """The array as a tensor, without a copy where its memory allows it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a read-only array: nothing here writes into it
        return torch.from_numpy(np.ascontiguousarray(array))


def input_tensors(batch: FeatureBatch, spec: FeatureSpec, *, rows: int | None = None) -> list[Tensor]:
    """What a module takes, in its order: features where the spec has a shape, codes where it has cardinalities; the first
    `rows`, or all."""
    tensors = []
    if spec.shape:
        tensors.append(as_tensor(batch.features[:rows].astype(np.float32, copy=False)))
    if spec.cardinalities:
        assert batch.codes is not None
        tensors.append(as_tensor(batch.codes[:rows].astype(np.int64, copy=False)))
    return tensors


def order_of(epoch: int, *, seed: int, size: int) -> Tensor:
    """The permutation of rows in an epoch; a function of its arguments alone, so that an epoch can be gone on with."""
    mixed = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:8]
    generator = torch.Generator().manual_seed(int.from_bytes(mixed, "little") & (2**63 - 1))
    return torch.randperm(size, generator=generator)


class Batches:
    """The training part, cut into batches of `batch_size`. The last one may be smaller; one row alone joins the batch before
    it, because batch normalisation needs two. Of each batch `gather` gives the share."""

    def __init__(
        self, inputs: list[Tensor], target: Tensor, *, batch_size: int, device: torch.device, share: Share = WHOLE
    ) -> None:
        self.size = len(target)
        self._share = share
        self._batch_size = min(batch_size, self.size)
        self.num_steps = math.ceil(self.size / self._batch_size)
        if self.num_steps > 1 and self._batch_size > 1 and self.size % self._batch_size == 1:
            self.num_steps -= 1
        self._device = device
        self._sources = [*inputs, target]
        if device.type != "cpu" and _fits(self._sources, device):
            self._sources = [tensor.to(device) for tensor in self._sources]
        self._weights = [self._weight(step) for step in range(self.num_steps)]
        rows = max(stop - start for start, stop in map(self._own_bounds, range(self.num_steps)))
        self._buffers = [tensor.new_empty((rows, *tensor.shape[1:])) for tensor in self._sources]

    def bounds(self, step: int) -> tuple[int, int]:
        """First and last place, in the epoch's order, of a step's rows."""
        last = step == self.num_steps - 1
        return step * self._batch_size, self.size if last else (step + 1) * self._batch_size

    def sizes(self) -> Tensor:
        """Rows of each step, float64; of the whole batch, whatever the share."""
        bounds = [self.bounds(step) for step in range(self.num_steps)]
        return torch.tensor([stop - start for start, stop in bounds], dtype=torch.float64)

    def order(self, epoch: int, *, seed: int) -> Tensor:
        return order_of(epoch, seed=seed, size=self.size).to(self._sources[0].device)

    def gather(self, order: Tensor, step: int) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """The share's inputs and target, valid until the next call, and what the mean over its rows counts in the mean over the
        step's; None for all of it. A share without rows has one that weighs nothing."""
        start, stop = self._own_bounds(step)
        rows = order[start:stop]
        gathered = []
        for source, buffer in zip(self._sources, self._buffers, strict=True):
            place = buffer[: stop - start]
            torch.index_select(source, 0, rows, out=place)
            gathered.append(place.to(self._device))
        return gathered[:-1], gathered[-1], self._weights[step]

    def _weight(self, step: int) -> Tensor | None:
        if self._share.processes == 1:
            return None
        start, stop = self.bounds(step)
        own_start, own_stop = self._share.of(start, stop)
        return torch.tensor((own_stop - own_start) / (stop - start), device=self._device)

    def _own_bounds(self, step: int) -> tuple[int, int]:
        first, _ = self.bounds(step)
        start, stop = self._share.of(*self.bounds(step))
        return (start, stop) if stop > start else (first, first + 1)


def in_order(
    inputs: list[Tensor], target: Tensor, *, device: torch.device, most_rows: int | None = None
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """All rows in their order, as many at a time as stay in the processor's cache, or `most_rows`."""
    row_numbers = sum(math.prod(tensor.shape[1:]) for tensor in inputs)
    rows = most_rows or max(64, min(4096, 262_144 // max(1, row_numbers)))
    for start in range(0, len(target), rows):
        part = slice(start, start + rows)
        yield [tensor[part].to(device) for tensor in inputs], target[part].to(device)


def _fits(tensors: list[Tensor], device: torch.device) -> bool:
    needed_bytes = sum(tensor.nbytes for tensor in tensors)
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return needed_bytes < free_bytes / 4

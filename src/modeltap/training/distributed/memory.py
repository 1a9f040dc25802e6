"""Gradients added up in memory that the processes of one machine share: what gloo sends over a socket is here one copy away.

Letters: S slots, P processes, G numbers of all gradients.
"""

from __future__ import annotations

import mmap
import os
import platform
import sys
import time

import torch
from torch import Tensor, nn

LINE = 64
"""Bytes between two counters, so that each has a cache line of its own."""
SLOTS = 2
"""A process may be one sum ahead of another, never two."""
MOST_BYTES = 2**28
EAGER_S = 0.0005
"""How long a process looks at the others' counters before it sleeps between looks. It does not offer its core to others between
two looks: on a busy machine it would get it back a whole slice later."""
SLEEP_S = 0.00005


def can_share(module: nn.Module, *, processes: int) -> bool:
    """Whether `SharedSums` does this: on Linux, where a processor keeps the order of writes, for gradients of float32 that are
    not too large."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    numbers = sum(parameter.numel() for parameter in parameters)
    plain = all(parameter.dtype == torch.float32 and parameter.device.type == "cpu" for parameter in parameters)
    orders = sys.platform == "linux" and platform.machine() == "x86_64"
    return orders and plain and _num_bytes(numbers, processes) <= MOST_BYTES


class SharedSums:
    """Memory for the gradients of a module. The first process makes it (`place` None) and tells the others its `place`.

    It has no name in any folder, and is gone with the last process.
    """

    def __init__(self, module: nn.Module, *, rank: int, processes: int, place: tuple[int, int] | None = None) -> None:
        numbers = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        num_bytes = _num_bytes(numbers, processes)
        if place is None:
            handle = os.memfd_create("gradients")
            os.ftruncate(handle, num_bytes)
            place = os.getpid(), handle
        else:
            handle = os.open(f"/proc/{place[0]}/fd/{place[1]}", os.O_RDWR)
        self.place = place
        memory = mmap.mmap(handle, num_bytes)
        self._own = rank
        self._counters = memoryview(memory)[: LINE * processes].cast("q")
        self._others = [LINE // 8 * other for other in range(processes) if other != rank]
        flat = torch.frombuffer(memory, dtype=torch.float32, offset=LINE * processes)
        self._numbers_SPG = flat.view(SLOTS, processes, numbers)
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._sum_G = torch.empty(0)
        self._totals: list[Tensor] = []
        self._count = 0

    def add_up(self) -> None:
        """After the backward passes of a step: gradients become their sums over all processes, the same bits in each."""
        if not self._totals:
            self._lay_out()
        self._count += 1
        numbers_PG = self._numbers_SPG[self._count % SLOTS, :, : len(self._sum_G)]
        torch.cat([_gradient(parameter).flatten() for parameter in self._parameters], out=numbers_PG[self._own])
        self._counters[LINE // 8 * self._own] = self._count
        self._wait()
        torch.add(numbers_PG[0], numbers_PG[1], out=self._sum_G)
        for number_G in numbers_PG[2:]:
            self._sum_G.add_(number_G)
        for parameter, total in zip(self._parameters, self._totals, strict=True):
            parameter.grad = total

    def _lay_out(self) -> None:
        """Places for the sums. What the first pass gave no gradient, none does."""
        self._parameters = [parameter for parameter in self._parameters if parameter.grad is not None]
        sizes = [parameter.numel() for parameter in self._parameters]
        self._sum_G = torch.empty(sum(sizes))
        pieces = torch.split(self._sum_G, sizes)
        self._totals = [piece.view(parameter.shape) for piece, parameter in zip(pieces, self._parameters, strict=True)]

    def _wait(self) -> None:
        """Until all others have written; one that dies is noticed by the launcher, which ends this process too."""
        counters, count = self._counters, self._count
        for place in self._others:
            if counters[place] >= count:
                continue
            eager_until_s = time.perf_counter() + EAGER_S
            while counters[place] < count:
                if time.perf_counter() >= eager_until_s:
                    time.sleep(SLEEP_S)


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a weight had a gradient in the first step and has none in a later one")
    return parameter.grad


def _num_bytes(numbers: int, processes: int) -> int:
    return processes * (LINE + SLOTS * numbers * 4)

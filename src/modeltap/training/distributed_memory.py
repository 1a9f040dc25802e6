"""Gradients added up in memory that the processes of one machine share: what gloo sends over a socket is here one copy away.

Letters: S slots, P processes, G numbers of a bucket of gradients.
"""

from __future__ import annotations

import mmap
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.futures import Future

LINE = 64
"""Bytes between two counters, so that each has a cache line of its own."""
SLOTS = 2
"""A process may be one sum ahead of another, never two."""
MOST_BYTES = 2**28
EAGER_S = 0.0002
"""How long a process looks at the others' counters, leaving its core to whoever wants it, before it sleeps between looks: where
others want the core, who slept is woken before who waited."""
SLEEP_S = 0.00005
Hook = Callable[[Any, Any], Any]


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
        self._own, self._processes = rank, processes
        self._counters = memoryview(memory)[: LINE * processes].cast("q")
        self._others = [LINE // 8 * other for other in range(processes) if other != rank]
        flat = torch.frombuffer(memory, dtype=torch.float32, offset=LINE * processes)
        self._numbers_SPG = flat.view(SLOTS, processes, numbers)
        self._count = 0

    def hook(self) -> Hook:
        """For DistributedDataParallel: the means over the processes, the same bits in each of them."""

        def average(_state: Any, bucket):  # type: ignore[no-untyped-def] # torch looks at annotations, and wants none or its own
            own_G: Tensor = bucket.buffer()
            self._average(own_G)
            done: Future[Tensor] = Future()
            done.set_result(own_G)
            return done

        return average

    def _average(self, own_G: Tensor) -> None:
        self._count += 1
        slot_PG = self._numbers_SPG[self._count % SLOTS, :, : len(own_G)]
        slot_PG[self._own].copy_(own_G)
        self._counters[LINE // 8 * self._own] = self._count
        self._wait()
        torch.sum(slot_PG, 0, out=own_G)
        own_G.mul_(1 / self._processes)

    def _wait(self) -> None:
        """Until all others have written; one that dies is noticed by the launcher, which ends this process too."""
        counters, count = self._counters, self._count
        for place in self._others:
            if counters[place] >= count:
                continue
            since_s = time.perf_counter()
            while counters[place] < count:
                if time.perf_counter() - since_s < EAGER_S:
                    os.sched_yield()
                else:
                    time.sleep(SLEEP_S)


def _num_bytes(numbers: int, processes: int) -> int:
    return processes * (LINE + SLOTS * numbers * 4)

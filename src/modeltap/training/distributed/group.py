"""The processes that train one model together, seen from one of them: what they add up, and what the first decides for all.

Gradients go through shared memory or gloo on processors, over NCCL between GPUs; decisions, losses and generators over gloo.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as processes
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from modeltap.errors import InvalidRecipe
from modeltap.training.batches import Share
from modeltap.training.distributed.memory import SharedSums, can_share

LOOPBACK = ("lo", "lo0")


class Ranks:
    """Open until `close`; the processes find each other in the file `meeting`, which must be a new one each time.

    run: names everything that decides what they train. shares_memory: gradients go through memory, where they can.
    """

    def __init__(self, share: Share, *, meeting: Path, device: torch.device, run: str, shares_memory: bool = True) -> None:
        self.share, self.device, self.run = share, device, run
        self._shares_memory = shares_memory
        self._sums: SharedSums | None = None
        self._learned: list[nn.Parameter] = []
        for name in LOOPBACK:  # nobody outside this machine may take part
            with suppress(OSError):
                socket.if_nametoindex(name)
                os.environ["GLOO_SOCKET_IFNAME"] = name
        processes.init_process_group(
            "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo",
            store=processes.FileStore(str(meeting), share.processes),  # type: ignore[attr-defined]
            rank=share.rank,
            world_size=share.processes,
        )

    def join(self, module: nn.Module) -> nn.Module:
        """What is asked in place of the module: after `add_up` its gradients are the sums over all processes. They begin with
        the weights of the first."""
        if self._shares_memory and can_share(module, processes=self.share.processes):
            self._sums = self._share_memory(module)
        if self._sums is not None:
            with torch.no_grad():
                for tensor in (*module.parameters(), *module.buffers()):
                    processes.broadcast(tensor, 0)
            return module
        self._learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return DistributedDataParallel(
            module,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            static_graph=True,
        )

    def add_up(self) -> None:
        """After the backward passes of a step; what has no shared memory has means by then."""
        if self._sums is not None:
            self._sums.add_up()
            return
        gradients = [parameter.grad for parameter in self._learned if parameter.grad is not None]
        torch._foreach_mul_(gradients, self.share.processes)

    def align(self, module: nn.Module) -> None:
        """Running averages of a normalisation become those of the first process, in all of them."""
        for tensor in module.buffers():
            processes.broadcast(tensor, 0)

    def _share_memory(self, module: nn.Module) -> SharedSums | None:
        """None, in all processes, where the system does not let one of them have it."""
        rank, num_processes = self.share.rank, self.share.processes
        sums = None
        with suppress(OSError):
            sums = SharedSums(module, rank=rank, processes=num_processes) if rank == 0 else None
        process, handle = map(int, self.first_says(sums.place if sums else (0, 0)))
        with suppress(OSError):
            sums = sums or SharedSums(module, rank=rank, processes=num_processes, place=(process, handle))
        have = int(self.total(torch.tensor(sums is not None, dtype=torch.int64)))
        return sums if have == num_processes else None

    def first_says(self, values: Sequence[float]) -> list[float]:
        """The values that the first process gave, in all of them; as many everywhere."""
        told = torch.tensor(values, dtype=torch.float64)
        processes.broadcast(told, 0)
        said: list[float] = told.tolist()
        return said

    def total(self, own: Tensor) -> Tensor:
        """The sum of what all processes give, on the processor, the same in each of them."""
        summed = own.detach().cpu().clone()
        processes.all_reduce(summed)
        return summed

    def collect(self, own: Tensor) -> list[Tensor]:
        """What each process gave, tensors of one shape; empty but in the first."""
        found = [torch.empty_like(own) for _ in range(self.share.processes)] if self.share.rank == 0 else None
        processes.gather(own, found)
        return found or []

    def close(self) -> None:
        processes.destroy_process_group()


def own_device(share: Share, device: torch.device) -> torch.device:
    """The processor, or a GPU of one's own. Raises InvalidRecipe where there are fewer of them than processes."""
    if device.type != "cuda":
        return device
    there = torch.cuda.device_count()
    if there < share.processes:
        raise InvalidRecipe(
            f"distributed.processes is {share.processes}, and here are {there} GPUs, one for each; lower it, or set device: cpu"
        )
    torch.cuda.set_device(share.rank)
    return torch.device("cuda", share.rank)

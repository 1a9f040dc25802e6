"""Same numbers on every run: seeds, a fixed number of threads, and algorithms that do not depend on timing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deterministic(*, seed: int, threads: int) -> Iterator[None]:
    """Inside, torch draws from `seed`, uses `threads` threads and refuses algorithms whose result may vary; afterwards its
    settings are what they were."""
    import torch

    memory: Any = torch.utils.deterministic

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # every tensor is written before it is read; filling costs time at each step
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        memory.fill_uninitialized_memory = before[2]

"""What jobs may use of this machine at the most: its cores and memory, or less where a container was given less."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")


def num_cores() -> int:
    """That this process may run on at a time."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
    quota = _cpu_quota()
    return max(1, cores if quota is None else min(cores, round(quota)))


def memory_bytes() -> int:
    """That the processes of this machine, or of this container, may use together."""
    total: int = psutil.virtual_memory().total
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(name)
        if text.isdigit():
            total = min(total, int(text))
    return total


def _cpu_quota() -> float | None:
    """In cores; None where there is none."""
    quota, _, period = _read("cpu.max").partition(" ")
    if not quota:
        quota, period = _read("cpu/cpu.cfs_quota_us"), _read("cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _read(name: str) -> str:
    try:
        return (_CGROUPS / name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""

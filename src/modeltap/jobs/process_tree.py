"""A runner and every process it started: whether it stands still, and how much memory all of them use."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

_PROC = Path("/proc")
_OWN_MEMORY = (b"RssAnon:", b"RssShmem:")
_SHARED_FAIRLY = (b"Pss_Anon:", b"Pss_Shmem:")


class Seen(NamedTuple):
    """A process as the system shows it."""

    parent: int
    session: int
    is_stopped: bool
    """It stands still until somebody lets it go on: SIGSTOP, a debugger."""


def read_processes() -> dict[int, Seen]:
    """All that live, by number."""
    if not (_PROC / "self/stat").exists():
        return _read_elsewhere()
    found = {}
    for name in os.listdir(_PROC):  # noqa: PTH208  some hundred, five times a second
        if name.isdigit():
            try:
                fields = (_PROC / name / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if fields[0] not in (b"Z", b"X", b"x"):
                found[int(name)] = Seen(int(fields[1]), int(fields[3]), fields[0] in (b"T", b"t"))
    return found


def tree_of(pid: int, processes: Mapping[int, Seen]) -> frozenset[int]:
    """The process, its session, and what any of them started; empty if none of it lives."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for number, seen in processes.items():
        children[seen.parent].append(number)
    todo = [number for number, seen in processes.items() if number == pid or seen.session == pid]
    tree: set[int] = set()
    while todo:
        number = todo.pop()
        if number not in tree:
            tree.add(number)
            todo += children[number]
    return frozenset(tree)


def memory_bytes(pids: Collection[int], *, more_than: int) -> int:
    """What they use together beside the files they map, which the system drops when it wants to.

    Pages that several share count once for each while the sum is no `more_than` that, which is quick to read; else a share.
    """
    quick = sum(_read_kb(pid, "status", _OWN_MEMORY) for pid in pids) * 1024
    if quick <= more_than:
        return quick
    return sum(_read_kb(pid, "smaps_rollup", _SHARED_FAIRLY) for pid in pids) * 1024 or quick


def _read_kb(pid: int, name: str, wanted: tuple[bytes, ...]) -> int:
    if not _PROC.exists():
        try:
            return int(psutil.Process(pid).memory_info().rss) // 1024
        except psutil.Error:
            return 0
    try:
        lines = (_PROC / str(pid) / name).read_bytes().splitlines()
    except OSError:  # it ended, or belongs to somebody else
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(wanted))


def _read_elsewhere() -> dict[int, Seen]:
    found = {}
    for process in psutil.process_iter(["ppid", "status"]):
        facts = process.info
        try:
            session = os.getsid(process.pid)
        except OSError:
            continue
        if facts["status"] != psutil.STATUS_ZOMBIE:
            found[process.pid] = Seen(facts["ppid"] or 0, session, facts["status"] == psutil.STATUS_STOPPED)
    return found

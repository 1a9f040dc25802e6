"""What stands between a process that reads a model from elsewhere and the rest of the machine: raised by that process itself,
before it reads anything, and tried by it at once.

Limits hold everywhere. The rest is what the system gives: namespaces and Landlock on Linux, a filter of system calls beside
them. Each wall alone is enough for what it is named for; where one is not to be had, another may stand for it.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from modeltap.engines.confine import (
    be_the_likely_victim,
    end_with_parent,
    keep_limits,
    leave_no_core,
    limit_file_size,
    limit_memory,
    limit_open_files,
    limit_processes,
    limit_processor_time,
)
from modeltap.importing.sandbox_landlock import write_nowhere_but
from modeltap.importing.sandbox_namespaces import give_up_privileges, leave_network, mount_all_read_only_but
from modeltap.importing.sandbox_seccomp import no_new_privileges, refuse_calls

Wall = Literal["landlock", "mounts", "namespaces", "seccomp"]
Level = Literal["limits", "no-network", "no-writes"]
"""Each has what the one before it has."""
LEVELS: tuple[Level, ...] = ("limits", "no-network", "no-writes")
MAX_OPEN_FILES = 512
MAX_THREADS = 512
"""Of its own; each has a stack, so that memory ends before."""
LEAST_MEMORY_BYTES = 16 << 30
"""Of address space on a small machine: torch reserves much of it."""
UNUSED_PORT = 9


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is told of its walls, before anything else."""

    folders: list[str]
    """The only ones in which it writes; they exist."""
    outside: str
    """A folder that the parent may write, and the child may not."""
    memory_bytes: int
    processor_s: int
    parent_pid: int
    port: int = UNUSED_PORT
    """Of loopback; where something listens there, a wall that leaks is seen for certain."""
    without: list[Wall] = []
    """Walls that are left out, to see what holds without them."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried and does not go. `by` says what stands in the way."""

    no_processes: bool = False
    no_network: bool = False
    no_writes: bool = False
    by: list[str] = []

    @property
    def level(self) -> Level:
        if not self.no_network:
            return "limits"
        return "no-writes" if self.no_writes else "no-network"

    def told(self) -> str:
        """`limits + no network + no writes outside (landlock 7)`."""
        parts = {
            "no network": self.no_network,
            "no writes outside": self.no_writes,
            "no other process": self.no_processes,
        }
        by = f" ({', '.join(self.by)})" if self.by else ""
        return " + ".join(["limits", *(name for name, holds in parts.items() if holds)]) + by


def confine(given: Confinement) -> Held:
    """Raises the walls around this process, which has one thread, for good; what of them was found to hold."""
    leave_no_core()
    be_the_likely_victim()
    limit_processor_time(given.processor_s)
    limit_memory(min(given.memory_bytes, _most_memory_bytes()))
    limit_file_size(given.memory_bytes)
    limit_open_files(MAX_OPEN_FILES)
    folders = [Path(folder) for folder in given.folders]
    by = []
    is_own = _needs_no_privileges((*folders, Path(given.outside)))
    is_apart = "namespaces" not in given.without and is_own and leave_network()
    if is_apart:
        by.append("namespaces")
    limit_processes(MAX_THREADS + (0 if is_apart else _num_tasks()))
    keep_limits()
    writable = [*folders, *filter(Path.exists, (Path(os.devnull),))]
    version = write_nowhere_but(writable) if no_new_privileges() and "landlock" not in given.without else 0
    if version:
        by.append(f"landlock {version}")
    elif is_own and "mounts" not in given.without and mount_all_read_only_but(writable):
        by.append("read-only mounts")
    if is_own:
        give_up_privileges()
    end_with_parent(given.parent_pid)
    if "seccomp" not in given.without and refuse_calls():
        by.append("seccomp")
    return _tried(given, by)


def _tried(given: Confinement, by: list[str]) -> Held:
    return Held(
        no_processes=not _goes(_start_process),
        no_network=not _goes(lambda: _connect(given.port)),
        no_writes=not _goes(lambda: _write_into(Path(given.outside))),
        by=by,
    )


def _goes(deed: Callable[[], None]) -> bool:
    try:
        deed()
    except OSError:
        return False
    return True


def _start_process() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _connect(port: int) -> None:
    """Raises OSError, but not where somebody was reached who refused."""
    with socket.socket() as made:
        made.settimeout(1.0)
        problem = made.connect_ex(("127.0.0.1", port))
        if problem not in (0, errno.ECONNREFUSED):
            raise OSError(problem, "not reached")


def _write_into(folder: Path) -> None:
    path = folder / f".wall-{os.getpid()}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    path.unlink()


def _needs_no_privileges(places: tuple[Path, ...]) -> bool:
    """Whether this user reaches Python, these folders and this package by their permissions alone, as others do; root often
    reaches a folder only because it is root, and gives that up with its privileges."""
    user, groups = os.geteuid(), {os.getegid(), *os.getgroups()}
    wanted = (*places, Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent)
    for folder in {above for place in wanted for above in (place.resolve(), *place.resolve().parents)}:
        told = folder.stat()
        bit = 0o100 if told.st_uid == user else 0o010 if told.st_gid in groups else 0o001
        if not told.st_mode & bit:
            return False
    return True


def _most_memory_bytes() -> int:
    """Of address space, whatever the size of the file asks for: twice what the machine has, as much of it is never touched."""
    return max(LEAST_MEMORY_BYTES, 2 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _num_tasks() -> int:
    """The processes and threads that this user has now."""
    user, count = os.getuid(), 0
    try:
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return 1 << 16
    for entry in entries:
        try:
            if entry.stat().st_uid == user:
                count += len(list((entry / "task").iterdir()))
        except OSError:
            continue
    return count

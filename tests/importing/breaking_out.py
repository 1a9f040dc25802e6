"""What a confined process runs in these tests, as a reader of models that was taken over: each mode tries to get out, or to use
up what it may. `PYTHONPATH` brings it there; it tells what it could do."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What it is told: the mode, and where to go."""

    mode: str
    folder: str
    outside: str = ""
    port: int = 0
    memory_bytes: int = 1 << 30
    processor_s: int = 60


class Found(msgspec.Struct, frozen=True, kw_only=True):
    code: str = ""
    detail: str = ""
    done: list[str] = []


def _listed(deeds: dict[str, Callable[[], Any]]) -> list[str]:
    """The names of those that went."""
    done = []
    for name, deed in deeds.items():
        try:
            deed()
        except (OSError, subprocess.SubprocessError):
            continue
        done.append(name)
    return done


def _escape(asked: Tried) -> list[str]:
    outside, own = Path(asked.outside), Path(asked.folder)
    victim = outside / "victim"
    return _listed(
        {
            "write into its folder": lambda: (own / "made").write_text("made"),
            "read what lies outside": victim.read_text,
            "write beside": lambda: (outside / "made").write_text("made"),
            "change a file": lambda: victim.write_text("changed"),
            "cut a file": lambda: os.truncate(victim, 0),
            "remove a file": victim.unlink,
            "move a file in": lambda: victim.rename(own / "moved"),
            "move a file out": lambda: (own / "made").rename(outside / "moved"),
            "make a folder": (outside / "folder").mkdir,
            "link to it": lambda: os.link(victim, outside / "linked"),
            "write through a link": lambda: _through_link(own, victim),
            "let others read it": lambda: victim.chmod(0o777),
            "write to the home": lambda: (Path.home() / ".modeltap-was-here").write_text("x"),
            "connect": lambda: socket.create_connection(("127.0.0.1", asked.port), timeout=2).close(),
            "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
            "open a socket of the system": lambda: socket.socket(socket.AF_UNIX).close(),
            "send a datagram": _datagram,
            "fork": _fork,
            "start a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
            "become another program": _become,
            "end its parent": lambda: os.kill(os.getppid(), 9),
            "see whether its parent lives": lambda: os.kill(os.getppid(), 0),
            "read its parent's memory": _peek,
            "make a namespace": lambda: _called("unshare", 0x10000000),
            "mount": lambda: _called("mount", b"none", b"/tmp", b"tmpfs", 0, None),
            "trace its parent": lambda: _called("ptrace", 16, os.getppid(), 0, 0),
        }
    )


def _through_link(own: Path, victim: Path) -> None:
    link = own / "link"
    link.symlink_to(victim)
    link.write_text("changed")


def _datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", ("127.0.0.1", 9))


def _fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _become() -> None:
    """It would not come back."""
    os.execv("/bin/true", ["true"])


def _peek() -> None:
    with Path(f"/proc/{os.getppid()}/mem").open("rb") as memory:
        memory.seek(4096)
        memory.read(1)


def _called(name: str, *given: Any) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*given):
        raise OSError(ctypes.get_errno(), name)


def _eat_memory(asked: Tried) -> list[str]:
    try:
        bytearray(asked.memory_bytes)
    except MemoryError:
        return []
    return ["take more memory than it may"]


def _write_much(asked: Tried) -> list[str]:
    def much() -> None:
        with (Path(asked.folder) / "large").open("wb") as file:
            file.seek(asked.memory_bytes)
            file.write(b"x")

    return _listed({"write more than it may": much})


def _open_many(asked: Tried) -> list[str]:
    kept = []

    def many() -> None:
        for _ in range(2000):
            kept.append(os.open(os.devnull, os.O_RDONLY))

    return _listed({"open many files": many})


def _start_threads(asked: Tried) -> list[str]:
    ending = threading.Event()
    try:
        for _ in range(8):
            threading.Thread(target=ending.wait, daemon=True).start()
    finally:
        ending.set()
    return ["start threads"]


def _leave_a_child(asked: Tried) -> list[str]:
    """As one that outlives its parent and holds its pipes."""
    if not os.fork():
        os.setsid() if asked.mode == "leave a child of its own session" else None
        (Path(asked.folder) / "pid").write_text(str(os.getpid()))
        threading.Event().wait()
    return ["leave a child"]


def _talk(asked: Tried) -> list[str]:
    while True:
        sys.stdout.buffer.write(b"x" * (1 << 16))


def _hold_memory(asked: Tried) -> list[str]:
    held = bytearray(600 << 20)
    held[:: 4 << 10] = b"x" * len(held[:: 4 << 10])
    return _hang(asked)


def _hang(asked: Tried) -> list[str]:
    os.close(1)
    os.close(2)
    threading.Event().wait()
    return []


def _raise_limits(asked: Tried) -> list[str]:
    import resource

    def wide(kind: int) -> None:
        try:
            resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except ValueError as problem:
            raise OSError(str(problem)) from None

    kinds = {"memory": resource.RLIMIT_AS, "time": resource.RLIMIT_CPU, "files": resource.RLIMIT_NOFILE}
    return _listed({name: (lambda kind=kind: wide(kind)) for name, kind in kinds.items()})


def _tell_environment(asked: Tried) -> list[str]:
    return sorted(os.environ)


def _work_on(asked: Tried) -> list[str]:
    while True:
        pass


MODES: dict[str, Callable[[Tried], list[str]]] = {
    "escape": _escape,
    "eat memory": _eat_memory,
    "hold memory": _hold_memory,
    "write much": _write_much,
    "open many": _open_many,
    "start threads": _start_threads,
    "leave a child": _leave_a_child,
    "talk": _talk,
    "hang": _hang,
    "raise limits": _raise_limits,
    "tell environment": _tell_environment,
    "work on": _work_on,
}


def main() -> None:
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Tried)
    sys.stdout.buffer.write(msgspec.json.encode(Found(done=MODES[asked.mode](asked))))

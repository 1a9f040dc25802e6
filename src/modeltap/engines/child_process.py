"""A process of ours at the other end of a socket: how it is started, how it begins, and how its end is waited for."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

from modeltap.engines.confine import bare_environment, be_the_likely_victim, end_with_parent, leave_no_core
from modeltap.errors import Broken

CLOSE_S = 5.0
"""From the end of its socket to the end of the process; then it is killed."""


async def start_child(
    module: str, protocol: asyncio.BaseProtocol, *, name: str
) -> tuple[subprocess.Popen[bytes], asyncio.Transport]:
    """`python -m module FD PARENT`, whose end of the socket speaks to the protocol. Raises Broken.

    Blocks the event loop for the start of the process itself, some milliseconds.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())]
        try:
            process = subprocess.Popen(  # noqa: S603  on this thread: the child ends when it does
                command,
                env=bare_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        except OSError as problem:
            ours.close()
            raise Broken(f"no process can be started for {name}: {problem.strerror}") from None
    with ExitStack() as unless_connected:
        unless_connected.callback(end_of, process, 0.0)
        unless_connected.callback(ours.close)
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=ours)
        unless_connected.pop_all()
    return process, transport


def begin_child(called: str) -> socket.socket:
    """In the process that was started: its end of the socket. From here on it ends with its parent."""
    descriptor, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    end_with_parent(parent_pid)
    leave_no_core()
    be_the_likely_victim()
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the parent decides when its engines end
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(format=f"{called} {os.getpid()}: %(message)s")
    return socket.socket(fileno=descriptor)


def end_of(process: subprocess.Popen[bytes], wait_s: float) -> int:
    """The exit status of a process that is ending; it is killed if it takes longer. Blocks."""
    if wait_s > 0:
        try:
            return process.wait(wait_s)
        except subprocess.TimeoutExpired:
            pass
    process.kill()
    return process.wait()


def told_status(status: int) -> str:
    """How a process ended, in words."""
    return f"signal {-status}" if status < 0 else f"exit status {status}"

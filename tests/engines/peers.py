"""Peer servers for tests: started, waited for, ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("peer_server.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_peer(*, key: str = ""):
    """The port of one that answers."""
    port = free_port()
    environment = {**os.environ, "PEER_KEY": key}
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(port)], env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 30
        while True:
            try:
                seen(port)
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline_s, "the peer did not start"
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


def seen(port: int) -> dict:
    """What the peer was asked, and how many callers left it in the middle."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/seen", timeout=10) as answer:
        return json.load(answer)


def command() -> tuple[str, ...]:
    """That starts one, as a deployment says it."""
    return (sys.executable, str(SCRIPT), "{port}")

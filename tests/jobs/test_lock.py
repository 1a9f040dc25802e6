"""One supervisor a home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeltap.errors import HomeInUse
from modeltap.jobs.lock import HomeLock


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    with HomeLock.acquire(tmp_path / "home") as lock:
        with pytest.raises(HomeInUse, match=f"process {os.getpid()}"):
            HomeLock.acquire(tmp_path / "home")
        lock.release()
        HomeLock.acquire(tmp_path / "home").release()
    HomeLock.acquire(tmp_path / "home").release()


def test_kill_9_releases_it_also_while_a_process_it_started_lives(tmp_path: Path) -> None:
    script = f"""
import subprocess, sys, time
from pathlib import Path
from modeltap.jobs.lock import HomeLock
lock = HomeLock.acquire(Path({str(tmp_path)!r}))
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=0, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(1000)
"""
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    with pytest.raises(HomeInUse, match=f"process {holder.pid}"):
        HomeLock.acquire(tmp_path)
    holder.kill()
    holder.wait()
    HomeLock.acquire(tmp_path).release()
    os.kill(child, 0)  # it lives
    holder.communicate()  # closes its standard input, and so ends it

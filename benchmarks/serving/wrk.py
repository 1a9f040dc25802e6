"""Load with wrk: closed loop, every connection asks again as soon as it has its answer."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.process import LOAD_CORE, pinned
from benchmarks.serving.wire import Form

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT_S = 10


class WrkMissing(Exception):
    """wrk is not installed."""


@dataclass(frozen=True)
class Load:
    """What a stretch of load saw. `errors` are answers that were no 200, and connections that failed."""

    rate: float
    p50_us: float
    p99_us: float
    errors: int


def find_wrk() -> str:
    """The program. Raises WrkMissing saying how to install it."""
    found = shutil.which("wrk")
    if found is None:
        raise WrkMissing("the load generator wrk is not installed; Debian, Ubuntu: apt-get install wrk")
    return found


def run_wrk(form: Form, port: int, *, seconds: int, connections: int, scratch: Path, core: str = LOAD_CORE) -> Load:
    """One stretch of load. Only good answers are counted in `rate`."""
    headers, body = scratch / "headers.txt", scratch / "body.bin"
    headers.write_text("".join(f"{name}: {value}\n" for name, value in form.headers.items()))
    body.write_bytes(form.body)
    command = [find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}{form.path}", "--", str(headers), str(body)]
    done = subprocess.run(pinned(command, core), capture_output=True, text=True, timeout=seconds + 6 * TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
    return parse_load(done.stdout)


def parse_load(output: str) -> Load:
    """What `post.lua` printed last."""
    told = json.loads(output.rstrip().rsplit("\n", 1)[-1])
    errors = sum(told[kind] for kind in ("connect", "read", "write", "status", "timeout"))
    good = max(0, told["requests"] - told["status"])
    return Load(good / told["duration_us"] * 1e6, told["p50_us"], told["p99_us"], errors)

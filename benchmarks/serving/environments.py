"""A virtual environment of its own for each peer, outside the repository, made on first use."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_LIMIT_S = 1800
MARK = ".installed"
LONGEST_REASON = 220


class CannotInstall(Exception):
    """A peer's environment could not be made; the text says what pip or venv said."""


def bench_home() -> Path:
    """Where environments and scratch files live: $MODELTAP_BENCH_HOME, else ~/.cache/modeltap-bench."""
    return Path(os.environ.get("MODELTAP_BENCH_HOME") or Path.home() / ".cache" / "modeltap-bench")


def find_environment(name: str, requirements: tuple[str, ...], *, interpreter: str = sys.executable) -> Path:
    """The python of the peer's environment, which is made where it is not there yet. Raises CannotInstall."""
    told = "\n".join([interpreter, *requirements])
    folder = bench_home() / "envs" / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    if (folder / MARK).exists():
        return python
    print(f"installing {name}: {' '.join(requirements)}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _run([interpreter, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *requirements])
    except CannotInstall:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / MARK).write_text(told)
    return python


def installed_versions(python: Path, distributions: tuple[str, ...]) -> str:
    """`flask 3.1.2, gunicorn 23.0.0`, as that interpreter sees them."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps({n: m.version(n) for n in sys.argv[1:] if any(True for _ in m.distributions(name=n))}))"
    )
    told = subprocess.run([str(python), "-c", code, *distributions], check=True, capture_output=True, text=True, timeout=60)
    return ", ".join(f"{name} {version}" for name, version in json.loads(told.stdout).items())


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise CannotInstall(f"there is no interpreter {Path(command[0]).name}") from None
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"installing took more than {INSTALL_LIMIT_S} s") from None
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        failures = [line for line in lines if line.startswith(("ERROR", "Error"))] or lines[-1:] or ["no reason given"]
        raise CannotInstall(failures[-1][:LONGEST_REASON])

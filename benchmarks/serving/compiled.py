"""modeltap as its wheel has it, with the hot path compiled: built from this checkout, once for each state of its sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks.serving.environments import LONGEST_REASON, CannotInstall, bench_home
from benchmarks.serving.process import ROOT

BUILD_LIMIT_S = 900
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE")


@cache
def compiled_packages() -> Path:
    """A folder for PYTHONPATH that holds the compiled package. Raises CannotInstall, as where there is no C compiler."""
    sources = [*sorted((ROOT / "src").rglob("*.py")), *(ROOT / name for name in BUILT_FROM)]
    state = hashlib.sha256(b"".join([path.read_bytes() for path in sources])).hexdigest()[:12]
    folder = bench_home() / "compiled" / f"{sys.implementation.cache_tag}-{state}"
    if folder.exists():
        return folder
    print("compiling modeltap", file=sys.stderr, flush=True)
    work = folder.with_suffix(".building")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(ROOT / "src", work / "tree" / "src", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, work / "tree" / name)
    _pip("wheel", "--no-deps", "--wheel-dir", str(work), str(work / "tree"))
    wheel = next(work.glob("*.whl"))
    _pip("install", "--no-deps", "--target", str(work / "packages"), str(wheel))
    (work / "packages").rename(folder)
    shutil.rmtree(work, ignore_errors=True)
    return folder


def _pip(*words: str) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"},
            timeout=BUILD_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"compiling took more than {BUILD_LIMIT_S} s") from None
    if done.returncode:
        raise CannotInstall(" ".join((done.stderr + done.stdout).split())[-LONGEST_REASON:])

"""Load a bundle and replay its golden rows in a child process first, so that a graph that crashes the parser, eats the
memory or never ends does so there and not in the server.

The child is `python -m modeltap.engines.probation`: file paths as JSON on its standard input, one JSON object as its answer.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from modeltap.bundle.files import open_bundle
from modeltap.bundle.golden import replay_golden
from modeltap.errors import Broken, GoldenMismatch, ModeltapError

TIMEOUT_S = 60.0


class Verdict(msgspec.Struct, frozen=True):
    """What the child found. `code` is that of an error, or empty."""

    code: str = ""
    detail: str = ""


def try_bundle(files: Mapping[str, Path], *, timeout_s: float = TIMEOUT_S) -> None:
    """Nothing, if the bundle loads and repeats its recorded answers in a child process.

    Raises GoldenMismatch if an answer differs, Broken if the graph cannot be loaded, kills its process or takes too long.
    """
    request = msgspec.json.encode({name: str(path) for name, path in files.items()})
    command = [sys.executable, "-m", "modeltap.engines.probation"]
    try:
        done = subprocess.run(command, input=request, capture_output=True, timeout=timeout_s, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise Broken(f"the graph was not ready within {timeout_s:g} s; the version is not deployed") from None
    if done.returncode != 0:
        raise Broken(f"the graph ended its trial process ({_told(done.returncode)}); the version is not deployed")
    try:
        verdict = msgspec.json.decode(done.stdout, type=Verdict)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Broken("the graph's trial process gave no verdict; the version is not deployed") from None
    if verdict.code == GoldenMismatch.code:
        raise GoldenMismatch(verdict.detail)
    if verdict.code:
        raise Broken(verdict.detail)


def _told(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def main() -> None:
    """The child: read paths, load, replay, say what happened."""
    from modeltap.engines.select import open_engine

    paths = msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, str])
    try:
        bundle = open_bundle({name: Path(path) for name, path in paths.items()})
        engine = open_engine(bundle)
        replay_golden(bundle.golden, bundle.manifest.schema, bundle.manifest.signature, engine.run)
        verdict = Verdict()
    except ModeltapError as problem:
        verdict = Verdict(problem.code, problem.message)
    sys.stdout.buffer.write(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()

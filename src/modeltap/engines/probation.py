"""Load a bundle and replay its golden rows in a child process first, so that a graph that crashes the parser, eats the
memory or never ends does so there and not in the server.

The child is `python -m modeltap.engines.probation`: file paths as JSON on its standard input, one JSON object as its answer.
It gives itself limits of memory and processor time before it reads the graph.
"""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from modeltap.bundle.files import Bundle, open_bundle
from modeltap.engines.confine import bare_environment, end_with_parent, leave_no_core, limit_memory, limit_processor_time
from modeltap.errors import Broken, GoldenMismatch, ModeltapError

TIMEOUT_S = 60.0
MEMORY_BYTES = 4 << 30
MEMORY_PER_GRAPH_BYTE = 6
"""Of address space. Measured: a process without a graph reserves 0.2 GB, and one that loads a large one 2.5 times its size."""
TRIAL_STREAMS = 1
"""Golden prompts are repeated one after the other."""


class Verdict(msgspec.Struct, frozen=True):
    """What the child found. `code` is that of an error, or empty."""

    code: str = ""
    detail: str = ""


def try_bundle(files: Mapping[str, Path], *, timeout_s: float = TIMEOUT_S) -> None:
    """Nothing, if the bundle loads and repeats its recorded answers in a child process.

    Raises GoldenMismatch if an answer differs, Broken if the graph cannot be loaded, kills its process or takes too long.
    """
    bundle = open_bundle(files)
    if bundle.manifest.engine.name == "openvino-genai":
        try_language(bundle, timeout_s=timeout_s)
        return
    request = msgspec.json.encode({name: str(path) for name, path in files.items()})
    command = [sys.executable, "-P", "-m", "modeltap.engines.probation", str(os.getpid()), str(math.ceil(timeout_s))]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=request, capture_output=True, timeout=timeout_s, check=False, env=bare_environment()
        )
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


def try_language(bundle: Bundle, *, timeout_s: float = TIMEOUT_S) -> None:
    """The same of a language model, whose engine process repeats the golden prompts before it says that it is ready. Not to be
    called on an event loop. Raises GoldenMismatch, Broken, MissingExtra."""
    from modeltap.engines.tokens_process import TokenProcess
    from modeltap.engines.tokens_wire import EngineSettings

    language = bundle.manifest.language
    if language is None:
        raise Broken("the manifest names the engine of language models, and describes none; the version is not deployed")

    async def started_and_ended() -> None:
        settings = EngineSettings(max_streams=TRIAL_STREAMS)
        process = await TokenProcess.start(
            "the version", bundle.files, language, bundle.golden, settings=settings, start_timeout_s=timeout_s
        )
        await process.close()

    asyncio.run(started_and_ended())


def _told(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def main() -> None:
    """The child: read paths, load, replay, say what happened."""
    from modeltap.engines.select import open_warm_engine

    end_with_parent(int(sys.argv[1]))
    leave_no_core()
    limit_processor_time(int(sys.argv[2]))
    paths = msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, str])
    try:
        bundle = open_bundle({name: Path(path) for name, path in paths.items()})
        limit_memory(MEMORY_BYTES + MEMORY_PER_GRAPH_BYTE * bundle.graph.stat().st_size)
        open_warm_engine(bundle)
        verdict = Verdict()
    except ModeltapError as problem:
        verdict = Verdict(problem.code, problem.message)
    except OSError as problem:
        verdict = Verdict(Broken.code, f"the bundle cannot be read: {problem.strerror}")
    except MemoryError:
        verdict = Verdict(Broken.code, "the graph takes more memory than it may; the version is not deployed")
    sys.stdout.buffer.write(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()

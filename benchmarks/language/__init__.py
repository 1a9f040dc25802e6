"""Servers of language models side by side: a Llama of 110 million parameters made at random, eight bits a weight, two cores.

Interleaved rounds of the raw loop of OpenVINO GenAI (the ceiling of whoever uses that engine), modeltap over HTTP, llama.cpp's
server and transformers, each with 1, 16 and 64 streams of 64 tokens after prompts of 64. The client shares the cores.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path


def add_options(parser: argparse._ArgumentGroup) -> None:
    """Options that `measure` reads."""
    parser.add_argument("--language-rounds", type=int, default=3, help="how often each contender is measured; default 3")
    parser.add_argument("--language-seconds", type=float, default=20.0, help="of each stretch; default 20")
    parser.add_argument("--language-only", type=lambda text: text.split(","), help="contenders, as a,b; default all")
    parser.add_argument(
        "--language-streams", type=lambda text: [int(one) for one in text.split(",")], help="at a time; default 1,16,64"
    )


def measure(options: argparse.Namespace) -> str:
    """The tables. Raises SystemExit where an option names nothing."""
    from benchmarks.language.contenders import CONTENDERS, RAW
    from benchmarks.language.model import find_model
    from benchmarks.language.report import table
    from benchmarks.language.shape import ANSWER_TOKENS, PROMPT_TOKENS, STREAMS, THREADS, Load
    from benchmarks.serving.environments import CannotInstall
    from benchmarks.serving.process import DidNotStart

    names = [one.name for one in CONTENDERS]
    unknown = set(options.language_only or names) - set(names)
    if unknown:
        raise SystemExit(f"--language-only takes {', '.join(names)}; given was {', '.join(sorted(unknown))}")
    chosen = [one for one in CONTENDERS if one.name in (options.language_only or names)]
    streams = options.language_streams or list(STREAMS)
    load_before = os.getloadavg()[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server is left behind
    made = find_model()
    found: dict[tuple[str, int], list[Load | None]] = {}
    versions: dict[str, str] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="modeltap-bench-", ignore_cleanup_errors=True) as scratch:
        for number in range(options.language_rounds):
            for one in chosen if number % 2 == 0 else list(reversed(chosen)):
                if one.name in failed:
                    continue
                print(f"round {number + 1}: {one.name}", file=sys.stderr, flush=True)
                try:
                    versions.setdefault(one.name, one.versions())
                    for at_once, load in one.measured(made, Path(scratch), streams, options.language_seconds):
                        rounds = found.setdefault((one.name, at_once), [])
                        rounds += [None] * (number - len(rounds)) + [load]
                        print(
                            f"  {at_once}: {load.rate:,.1f} tokens/s, first {load.first_ms:,.0f} ms",
                            file=sys.stderr,
                            flush=True,
                        )
                except (CannotInstall, DidNotStart, OSError) as problem:
                    failed[one.name] = " ".join(str(problem).split())
                    print(f"  {failed[one.name]}", file=sys.stderr, flush=True)
    parts = [table(found, RAW.name)]
    parts.append("\n".join(["| contender | set-up | versions |", "|---|---|---|"] + [
        f"| {one.name} | {one.about} | {versions.get(one.name, '–')} |" for one in chosen
    ]))  # fmt: skip
    parts += [f"- not measured: **{name}**, {reason}" for name, reason in failed.items()]
    parts.append(
        f"{options.language_rounds} rounds of {options.language_seconds:g} s, prompts of {PROMPT_TOKENS} and answers of"
        f" {ANSWER_TOKENS} tokens, {THREADS} threads, client and server on the same cores; load of the machine before:"
        f" {load_before:.1f}."
    )
    return "\n\n".join(part for part in parts if part)

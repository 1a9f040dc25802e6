"""Interleaved rounds: each server is started, asked and ended in turn, again and again, so that all see the same machine."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.environments import CannotInstall
from benchmarks.serving.graph import Floats
from benchmarks.serving.open_loop import OpenLoad, run_open_loop
from benchmarks.serving.process import ROOT, SERVER_CORE, DidNotStart, cpu_seconds, pinned
from benchmarks.serving.servers import Endpoint, Run, Server
from benchmarks.serving.wire import Form, WrongAnswer, check
from benchmarks.serving.wrk import Load, run_wrk

CONNECTIONS = 32
WARM_S = 1
SINGLE_S = 2
OPEN_SHARE = 0.7
"""Of a server's own peak in the same round."""
RAW = ("session.run", "batch 1")
Who = tuple[str, str]
"""(server, form)"""


@dataclass(frozen=True)
class Plan:
    """What is measured, how long, on what."""

    graph: Path
    row: Floats
    expected: Floats
    rounds: int
    seconds: int
    open_loop: bool = True
    single: bool = True


@dataclass(frozen=True)
class Stretch:
    """What one server did in one form in one round."""

    peak: Load
    cores_used: float
    """Of the server, over the peak: less than what it may use where something else was on its core, or it had to wait."""
    open: OpenLoad | None = None
    single: Load | None = None


@dataclass
class Found:
    """By server and form a stretch a round, None where there was none; and what did not run, with the reason."""

    stretches: dict[Who, list[Stretch | None]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, who: Who, number: int, stretch: Stretch) -> None:
        held = self.stretches.setdefault(who, [])
        held.extend([None] * (number - len(held)))
        held.append(stretch)


def run_rounds(servers: Sequence[Server], plan: Plan) -> Found:
    """Every server, every round; one that fails is left out from then on, and named in `failed`."""
    found = Found()
    for server in servers:
        try:
            found.versions[server.name] = server.versions()
        except CannotInstall as problem:
            found.failed[server.name] = f"cannot be installed: {problem}"
    for number in range(plan.rounds):
        found.add(RAW, number, Stretch(peak=run_raw(plan), cores_used=1.0))
        for server in servers if number % 2 == 0 else list(reversed(servers)):
            if server.name in found.failed:
                continue
            _tell(f"round {number + 1} of {plan.rounds}: {server.name}")
            try:
                _measure(server, number, plan, found)
            except Exception as problem:
                # Whatever goes wrong with one server is told in the report, and the others go on.
                expected = isinstance(problem, DidNotStart | WrongAnswer | CannotInstall)
                found.failed[server.name] = f"round {number + 1}: {problem if expected else repr(problem)}"
                _tell(f"  {found.failed[server.name]}")
    return found


def run_raw(plan: Plan) -> Load:
    """`session.run` at batch 1 in a process of its own on the servers' core."""
    command = [sys.executable, "-m", "benchmarks.serving.raw", str(plan.graph), str(plan.seconds)]
    limit_s = plan.seconds + 60
    done = subprocess.run(pinned(command, SERVER_CORE), capture_output=True, text=True, cwd=ROOT, timeout=limit_s, check=True)
    return Load(**json.loads(done.stdout))


def _measure(server: Server, number: int, plan: Plan, found: Found) -> None:
    with tempfile.TemporaryDirectory(prefix="modeltap-bench-", ignore_cleanup_errors=True) as folder:
        run = Run(Path(folder), plan.graph, plan.row, plan.expected)
        with server.start(run) as endpoint:
            for name, said in endpoint.refused.items():
                found.failed[f"{server.name}, {name}"] = said
            for name, form in endpoint.forms.items():
                stretch = _stretch(form, endpoint, plan, run.scratch)
                check(form, endpoint.port, plan.expected)
                found.add((server.name, name), number, stretch)
                _tell(f"  {name}: {stretch.peak.rate:,.0f}/s, p50 {stretch.peak.p50_us / 1e3:.2f} ms")


def _stretch(form: Form, endpoint: Endpoint, plan: Plan, scratch: Path) -> Stretch:
    def load(seconds: int, connections: int) -> Load:
        return run_wrk(form, endpoint.port, seconds=seconds, connections=connections, scratch=scratch)

    load(WARM_S, CONNECTIONS)
    spent_s, started_s = cpu_seconds(endpoint.pid), time.monotonic()
    peak = load(plan.seconds, CONNECTIONS)
    cores_used = (cpu_seconds(endpoint.pid) - spent_s) / (time.monotonic() - started_s)
    single = load(SINGLE_S, 1) if plan.single else None
    opened = None
    if plan.open_loop and peak.rate > 0:
        rate = peak.rate * OPEN_SHARE
        opened = run_open_loop(form, endpoint.port, rate=rate, seconds=plan.seconds, scratch=scratch)
    return Stretch(peak, cores_used, opened, single)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

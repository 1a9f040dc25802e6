"""Model servers side by side on the reference CNN: the same ONNX graph, one core a server, wrk on another.

What is compared, and how, is in `rounds.py`; the servers are in `servers/` and `peers/`. Each peer gets a virtual environment
in $MODELTAP_BENCH_HOME (default ~/.cache/modeltap-bench) when it is first measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

SECTIONS = ("peak", "open", "single", "workers", "features")


def add_options(parser: argparse._ArgumentGroup) -> None:
    """Options that `measure` reads."""
    parser.add_argument("--rounds", type=_at_least_one, default=3, help="how often each server is measured; default 3")
    parser.add_argument("--seconds", type=_at_least_one, default=5, help="of each stretch of load; default 5")
    parser.add_argument("--only", type=lambda text: text.split(","), help="servers, as a,b; default all")
    parser.add_argument(
        "--sections",
        type=lambda text: text.split(","),
        default=list(SECTIONS),
        help=f"of {', '.join(SECTIONS)}; default all (peak is always taken of the servers that open and single need)",
    )


def measure(options: argparse.Namespace) -> str:
    """The tables. Raises SystemExit where an option names nothing, or wrk or a second core is not there."""
    from benchmarks.serving import graph, report
    from benchmarks.serving.process import LOAD_CORE, SERVER_CORE, DidNotStart, pinned
    from benchmarks.serving.rounds import Plan, run_rounds
    from benchmarks.serving.servers import FEATURES, NAMES, SERVERS, WORKERS, Modeltap
    from benchmarks.serving.wrk import WrkMissing, find_wrk

    only = options.only or list(NAMES)
    _refuse_unknown("--only", only, NAMES)
    _refuse_unknown("--sections", options.sections, SECTIONS)
    try:
        pinned([find_wrk()], f"{SERVER_CORE},{LOAD_CORE}")
    except (WrkMissing, DidNotStart) as problem:
        raise SystemExit(str(problem)) from None

    servers = [server for server in SERVERS if server.name in only]
    wanted = set(options.sections)
    own = Modeltap()
    parts: list[str] = []
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="modeltap-bench-") as folder:
        path = graph.write_graph(Path(folder) / "cnn.onnx")
        row_NHWC = graph.example_picture()
        expected_C = graph.answer(graph.open_session(path), row_NHWC)[0]

        def plan(*, open_loop: bool = False, single: bool = False) -> Plan:
            return Plan(path, row_NHWC, expected_C, options.rounds, options.seconds, open_loop, single)

        if wanted & {"peak", "open", "single"}:
            found = run_rounds(servers, plan(open_loop="open" in wanted, single="single" in wanted))
            parts += [report.peak_table(found), report.budget_table(found), report.open_table(found)]
            parts += [report.single_table(found), report.setup_table(found, servers)]
        for section, variations, note in (
            ("workers", [Modeltap(variation) for variation in WORKERS], _workers_note()),
            ("features", [own, *(Modeltap(variation) for variation in FEATURES)], "One thing switched at a time."),
        ):
            if section in wanted and own.name in only:
                found = run_rounds(variations, plan())
                parts += [report.variation_table(found, variations[0].name, note), report.failed_list(found)]
    parts.append(f"{options.rounds} rounds of {options.seconds} s; load of the machine before: {load_before:.1f}.")
    return "\n\n".join(part for part in parts if part)


def _workers_note() -> str:
    from benchmarks.serving.process import LOAD_CORE

    shared = ", one of which the load shares, so that this is a lower bound" if LOAD_CORE == "1" else ""
    return f"Both may use two cores{shared}."


def _refuse_unknown(option: str, given: list[str], known: tuple[str, ...]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SystemExit(f"{option} takes {', '.join(known)}, separated by commas; given was {', '.join(unknown)}")


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number

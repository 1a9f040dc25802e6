"""`python -m benchmarks [NAME …]`: runs the benchmarks and adds their tables to RESULTS.md, with the date and the machine.

A benchmark is a module with `measure()`; one that also has `add_options(group)` is given the parsed options.
"""

from __future__ import annotations

import argparse
import importlib
import os
from datetime import UTC, datetime
from pathlib import Path

from modeltap.bundle.environment import environment

NAMES = (
    "startup",
    "training",
    "distributed",
    "language_training",
    "serving",
    "batching",
    "metering",
    "explaining",
    "overload",
    "scale",
    "language",
    "language_quality",
    "compression",
    "auto",
    "tuning",
    "lifecycle",
)
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(NAMES)}; default all")
    parser.add_argument("--dry", action="store_true", help="print the tables, leave RESULTS.md as it is")
    for name in NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        if hasattr(module, "add_options"):
            module.add_options(parser.add_argument_group(name))
    arguments = parser.parse_args()
    for name in arguments.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        table = module.measure(arguments) if hasattr(module, "add_options") else module.measure()
        when = datetime.now(UTC).strftime("%Y-%m-%d")
        load = os.getloadavg()[0]
        entry = f"## {name}, {when}\n\n{environment()['processor']}, {os.cpu_count()} cores, load {load:.1f}\n\n{table}\n"
        print(entry)
        if not arguments.dry:
            before = RESULTS.read_text() if RESULTS.exists() else "# Results\n\nNewest last; medians of interleaved rounds.\n"
            RESULTS.write_text(f"{before.rstrip()}\n\n{entry}")


if __name__ == "__main__":
    main()
